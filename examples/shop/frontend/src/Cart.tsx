import type { Product } from './api.ts'
import { price } from './price.ts'

type Props = {
  products: Product[]
  cart: Record<number, number>
  onOrder: (customer: string) => Promise<void>
}

export function Cart({ products, cart, onOrder }: Props) {
  const lines = products.filter(({ id }) => cart[id])
  const total = lines.reduce((sum, { id, priceCents }) => sum + cart[id] * priceCents, 0)
  return (
    <section id="cart">
      <h2>Cart</h2>
      {lines.length === 0 ? (
        <p>Nothing in it yet.</p>
      ) : (
        <form action={(form) => onOrder(String(form.get('customer')))}>
          <ul>
            {lines.map(({ id, name, priceCents }) => (
              <li key={id}>
                {cart[id]} × {name} <span>{price(cart[id] * priceCents)}</span>
              </li>
            ))}
          </ul>
          <p className="price">Total {price(total)}</p>
          <input name="customer" placeholder="Your name" aria-label="Your name" maxLength={100} required />
          <button>Order</button>
        </form>
      )}
    </section>
  )
}
