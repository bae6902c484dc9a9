import { useCallback, useEffect, useState } from 'react'

import { listOrders, listProducts, placeOrder, type Order, type Product } from './api.ts'
import { Cart } from './Cart.tsx'
import { Orders } from './Orders.tsx'
import { Products } from './Products.tsx'
import { visit } from './visit.ts'

export function App() {
  const [products, setProducts] = useState<Product[]>()
  const [orders, setOrders] = useState<Order[]>([])
  const [cart, setCart] = useState<Record<number, number>>({})
  const [visits, setVisits] = useState<number>()
  const [problem, setProblem] = useState('')

  const told = (error: Error) => setProblem(error.message)
  const load = useCallback(async () => {
    const [products, orders] = await Promise.all([listProducts(), listOrders()])
    setProducts(products)
    setOrders(orders)
  }, [])

  useEffect(() => {
    load().catch(told)
    visit.then(({ visits }) => setVisits(visits)).catch(told)
  }, [load])

  const add = (id: number) => setCart((cart) => ({ ...cart, [id]: (cart[id] ?? 0) + 1 }))
  const order = async (customer: string) => {
    const items = Object.entries(cart).map(([id, quantity]) => ({ productId: Number(id), quantity }))
    try {
      await placeOrder(customer, items)
      setCart({})
      setProblem('')
      await load()
    } catch (error) {
      told(error as Error)
    }
  }

  return (
    <>
      <header>
        <h1>⚓ Harbour shop</h1>
        {visits !== undefined && <p id="visits">Visit number {visits}</p>}
      </header>
      {problem && <p role="alert">{problem}</p>}
      <main>
        <Products products={products} cart={cart} onAdd={add} />
        <aside>
          <Cart products={products ?? []} cart={cart} onOrder={order} />
          <Orders orders={orders} />
        </aside>
      </main>
    </>
  )
}
