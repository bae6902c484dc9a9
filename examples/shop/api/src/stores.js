import { readFile } from 'node:fs/promises'

import pg from 'pg'
import { createClient } from 'redis'

/**
 * Opens both databases: what must not be lost is in Postgres, what is counted or
 * can be computed again in Redis. A project's own are in the environment.
 */
export async function openStores({ DATABASE_URL, REDIS_URL }) {
  const db = new pg.Pool({
    connectionString: DATABASE_URL ?? 'postgres://app@127.0.0.1/app',
    connectionTimeoutMillis: 5_000,
  })
  // A connection that breaks while nobody uses it is replaced by the pool.
  db.on('error', (error) => console.error(`postgres: ${error.message}`))

  // Without a connection a command fails at once, and does not wait for one.
  const cache = createClient({ url: REDIS_URL ?? 'redis://127.0.0.1', disableOfflineQueue: true })
  cache.on('error', (error) => console.error(`redis: ${error.message}`))

  await Promise.all([createTables(db), cache.connect()])
  return { db, cache, close: () => Promise.all([db.end(), cache.close()]) }
}

async function createTables(db) {
  await db.query(await readFile(new URL('schema.sql', import.meta.url), 'utf8'))
}
