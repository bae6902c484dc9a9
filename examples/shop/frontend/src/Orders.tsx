import type { Order } from './api.ts'
import { price } from './price.ts'

export function Orders({ orders }: { orders: Order[] }) {
  return (
    <section id="orders">
      <h2>Orders</h2>
      {orders.length === 0 && <p>Nobody has ordered anything yet.</p>}
      <ol reversed start={orders[0]?.id}>
        {orders.map(({ id, customer, totalCents, items }) => (
          <li key={id} data-order={id}>
            <strong>{customer}</strong> {items.map(({ name, quantity }) => `${quantity} × ${name}`).join(', ')}{' '}
            <span>{price(totalCents)}</span>
          </li>
        ))}
      </ol>
    </section>
  )
}
