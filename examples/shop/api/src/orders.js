import { HttpError } from './errors.js'

const MAX_ITEMS = 50
const MAX_QUANTITY = 100
const MAX_CUSTOMER = 100

/** An order as a client sends it, checked; one product stands in it once. */
export function parseOrder(body) {
  const { customer, items } = body ?? {}
  if (typeof customer !== 'string' || !customer.trim() || customer.length > MAX_CUSTOMER) {
    throw new HttpError(400, `customer must be a name of 1 to ${MAX_CUSTOMER} characters`)
  }
  if (!Array.isArray(items) || items.length < 1 || items.length > MAX_ITEMS) {
    throw new HttpError(400, `items must be a list of 1 to ${MAX_ITEMS}`)
  }
  const quantities = new Map()
  for (const item of items) {
    const { productId, quantity } = item ?? {}
    if (!isCount(productId, 2 ** 31 - 1) || !isCount(quantity, MAX_QUANTITY)) {
      throw new HttpError(400, `an item must have a productId and a quantity from 1 to ${MAX_QUANTITY}`)
    }
    if (quantities.has(productId)) throw new HttpError(400, `product ${productId} is there twice`)
    quantities.set(productId, quantity)
  }
  return { customer: customer.trim(), quantities }
}

function isCount(value, most) {
  return Number.isInteger(value) && value >= 1 && value <= most
}

/** Takes the items out of the stock and writes the order, or does neither. */
export async function placeOrder(db, { customer, quantities }) {
  return inTransaction(db, async (client) => {
    const items = []
    // Always in the same order, so that two orders never wait for each other's rows.
    for (const [productId, quantity] of [...quantities].sort(([a], [b]) => a - b)) {
      const { rows } = await client.query(
        `update products set stock = stock - $2 where id = $1 and stock >= $2
         returning name, price_cents as "priceCents"`,
        [productId, quantity],
      )
      if (rows.length === 0) throw await whyNot(client, productId)
      items.push({ productId, quantity, ...rows[0] })
    }
    const totalCents = items.reduce((sum, item) => sum + item.quantity * item.priceCents, 0)
    const { rows } = await client.query(
      `insert into orders (customer, total_cents) values ($1, $2)
       returning id::int, customer, total_cents as "totalCents", placed_at as "placedAt"`,
      [customer, totalCents],
    )
    for (const { productId, quantity, priceCents } of items) {
      await client.query(
        'insert into order_items (order_id, product_id, quantity, price_cents) values ($1, $2, $3, $4)',
        [rows[0].id, productId, quantity, priceCents],
      )
    }
    return { ...rows[0], items }
  })
}

async function whyNot(client, productId) {
  const { rows } = await client.query('select name, stock from products where id = $1', [productId])
  if (rows.length === 0) return new HttpError(404, `there is no product ${productId}`)
  return new HttpError(409, `of ${rows[0].name} there are ${rows[0].stock} left`)
}

/** The newest orders with what was ordered. */
export async function listOrders(db) {
  const { rows } = await db.query(
    `select o.id::int, o.customer, o.total_cents as "totalCents", o.placed_at as "placedAt",
            json_agg(json_build_object('productId', p.id, 'name', p.name, 'quantity', i.quantity,
                                       'priceCents', i.price_cents) order by p.id) as items
     from orders o
     join order_items i on i.order_id = o.id
     join products p on p.id = i.product_id
     group by o.id order by o.id desc limit 20`,
  )
  return rows
}

async function inTransaction(db, work) {
  const client = await db.connect()
  try {
    await client.query('begin')
    const result = await work(client)
    await client.query('commit')
    client.release()
    return result
  } catch (error) {
    // A connection on which even that fails goes back to nobody.
    await client.query('rollback').then(
      () => client.release(),
      (broken) => client.release(broken),
    )
    throw error
  }
}
