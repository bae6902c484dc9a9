import { setTimeout as rest } from 'node:timers/promises'

/** Looks until it finds something, and returns that. Ends with what the last look said. */
export async function eventually(what, seconds, look) {
  const deadline = Date.now() + seconds * 1_000
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${seconds} s`)
    await rest(250)
  }
}
