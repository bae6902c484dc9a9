/** A request that is answered with a status and a word for whoever made it. */
export class HttpError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}
