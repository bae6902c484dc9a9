import express from 'express'

import { HttpError } from './errors.js'
import { listOrders, parseOrder, placeOrder } from './orders.js'
import { forgetProducts, listProducts } from './products.js'

/** The API over both databases. */
export function createApp({ db, cache }) {
  const app = express()
  app.disable('x-powered-by')
  app.use(express.json({ limit: '16kb' }))

  app.get('/healthz', async (request, response) => {
    const [postgres, redis] = await Promise.allSettled([db.query('select 1'), cache.ping()])
    const said = ({ status, reason }) => (status === 'fulfilled' ? 'ok' : reason.message)
    const healthy = postgres.status === 'fulfilled' && redis.status === 'fulfilled'
    response.status(healthy ? 200 : 503).json({ postgres: said(postgres), redis: said(redis) })
  })

  app.get('/api/products', async (request, response) => {
    const { products, cached } = await listProducts(db, cache)
    response.set('x-cache', cached ? 'hit' : 'miss').json(products)
  })

  app.get('/api/orders', async (request, response) => {
    response.json(await listOrders(db))
  })

  app.post('/api/orders', async (request, response) => {
    const order = await placeOrder(db, parseOrder(request.body))
    await forgetProducts(cache)
    response.status(201).json(order)
  })

  app.post('/api/visits', async (request, response) => {
    response.json({ visits: await cache.incr('visits') })
  })

  app.use((request) => {
    throw new HttpError(404, `there is no ${request.method} ${request.path}`)
  })

  app.use((error, request, response, next) => {
    // What Express and its parsers refuse has a status as well.
    const status = error.status ?? 500
    if (status >= 500) console.error(error)
    if (response.headersSent) return next(error)
    response.status(status).json({ error: status >= 500 ? 'something went wrong; the log says what' : error.message })
  })

  return app
}
