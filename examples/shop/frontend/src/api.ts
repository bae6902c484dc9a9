export type Product = {
  id: number
  sku: string
  name: string
  description: string
  emoji: string
  priceCents: number
  stock: number
}

export type Item = { productId: number; quantity: number }

export type Order = {
  id: number
  customer: string
  totalCents: number
  placedAt: string
  items: (Item & { name: string; priceCents: number })[]
}

export const listProducts = () => call<Product[]>('GET', '/api/products')
export const listOrders = () => call<Order[]>('GET', '/api/orders')
export const placeOrder = (customer: string, items: Item[]) => call<Order>('POST', '/api/orders', { customer, items })
export const countVisit = () => call<{ visits: number }>('POST', '/api/visits')

async function call<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (response.ok) return response.json()
  // A proxy on the way answers in its own words, if any.
  const said: { error?: string } = await response.json().catch(() => ({}))
  throw new Error(said.error ?? `the shop does not answer (${response.status})`)
}
