import type { Product } from './api.ts'
import { price } from './price.ts'

type Props = { products?: Product[]; cart: Record<number, number>; onAdd: (id: number) => void }

export function Products({ products, cart, onAdd }: Props) {
  if (!products) return <p>Opening the shop…</p>
  if (products.length === 0) return <p>The shelves are empty: run the seed script.</p>
  return (
    <ul className="products">
      {products.map(({ id, sku, name, description, emoji, priceCents, stock }) => (
        <li key={id} data-sku={sku}>
          <span className="emoji">{emoji}</span>
          <h2>{name}</h2>
          <p>{description}</p>
          <p className="price">
            {price(priceCents)} <small>{stock} in stock</small>
          </p>
          <button onClick={() => onAdd(id)} disabled={(cart[id] ?? 0) >= stock}>
            Add to cart
          </button>
        </li>
      ))}
    </ul>
  )
}
