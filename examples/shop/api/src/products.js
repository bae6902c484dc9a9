const KEY = 'products'
/** Seconds that the list may be old, should nobody have forgotten it after a change. */
const MAX_AGE = 60

/** All products by name, from the cache where it has them. */
export async function listProducts(db, cache) {
  const cached = await orWithout(() => cache.get(KEY))
  if (cached) return { products: JSON.parse(cached), cached: true }
  const { rows } = await db.query(
    `select id::int, sku, name, description, emoji, price_cents as "priceCents", stock
     from products order by name`,
  )
  await orWithout(() => cache.set(KEY, JSON.stringify(rows), { expiration: { type: 'EX', value: MAX_AGE } }))
  return { products: rows, cached: false }
}

/** To be called after every change of a product. */
export async function forgetProducts(cache) {
  await orWithout(() => cache.del(KEY))
}

/** A shop whose cache is away is slower, and still a shop. */
async function orWithout(command) {
  try {
    return await command()
  } catch (error) {
    console.error(`redis: ${error.message}`)
    return null
  }
}
