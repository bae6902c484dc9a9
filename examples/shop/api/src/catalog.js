import { forgetProducts } from './products.js'

export const PRODUCTS = [
  { sku: 'BUOY-1', name: 'Anchor buoy', description: 'Says where your anchor is.', emoji: '🛟', priceCents: 2990, stock: 12 },
  { sku: 'ROPE-30', name: 'Mooring rope, 30 m', description: 'Stays where you tie it.', emoji: '🪢', priceCents: 4950, stock: 20 },
  { sku: 'LAMP-2', name: 'Storm lantern', description: 'Burns in any wind.', emoji: '🏮', priceCents: 3400, stock: 8 },
  { sku: 'COMP-1', name: 'Hand compass', description: 'Needs no update.', emoji: '🧭', priceCents: 5900, stock: 5 },
  { sku: 'MUG-3', name: 'Enamel mug', description: 'Survives the bilge.', emoji: '☕', priceCents: 1250, stock: 40 },
  { sku: 'FISH-1', name: 'Remora, plush', description: 'Holds on to larger ones.', emoji: '🐟', priceCents: 1990, stock: 30 },
]

/** Adds the products that are not there; the others stay as they are. Returns how many were added. */
export async function seed({ db, cache }) {
  const { rowCount } = await db.query(
    `insert into products (sku, name, description, emoji, price_cents, stock)
     select sku, name, description, emoji, "priceCents", stock
     from json_to_recordset($1) as (sku text, name text, description text, emoji text, "priceCents" integer, stock integer)
     on conflict (sku) do nothing`,
    [JSON.stringify(PRODUCTS)],
  )
  await forgetProducts(cache)
  return rowCount
}
