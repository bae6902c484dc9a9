import { eventually } from './eventually.js'

/** A project, by the server's REST API. */
export class Project {
  #root
  #key

  constructor(name, { REMORA_SERVER, REMORA_API_KEY }) {
    this.#root = `${REMORA_SERVER}/api/v1/projects/${name}`
    this.#key = REMORA_API_KEY
  }

  /** An address that opens a container's port in a browser, for a minute. */
  async link(container) {
    const body = JSON.stringify({ container, port: 'http', path: '/' })
    const answer = await this.#call('POST', '/links', { body, headers: { 'content-type': 'application/json' } })
    return (await answer.json()).url
  }

  async read(path) {
    const answer = await this.#call('GET', `/files/${path}`, { headers: { accept: 'application/octet-stream' } })
    return answer.text()
  }

  async write(path, content) {
    await this.#call('PUT', `/files/${path}`, { body: content })
  }

  async hibernate() {
    await this.#call('POST', '/hibernate')
    await this.becomes('Hibernated')
  }

  async wake() {
    await this.#call('POST', '/wake')
    await this.becomes('Ready')
  }

  async becomes(phase) {
    await eventually(`phase ${phase}`, 600, async () => {
      const project = await (await this.#call('GET', '')).json()
      return project.status.phase === phase
    })
  }

  async #call(method, path, { body, headers } = {}) {
    const authorization = `Bearer ${this.#key}`
    const answer = await fetch(this.#root + path, { method, body, headers: { ...headers, authorization } })
    if (!answer.ok) throw new Error(`${method} ${path || '/'}: ${answer.status} ${await answer.text()}`)
    return answer
  }
}
