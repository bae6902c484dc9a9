// Against a real Postgres and a real Redis: those of the project, or those that DATABASE_URL
// and REDIS_URL name. Each run has a schema of its own and Redis's database 1.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'

import { createApp } from '../src/app.js'
import { PRODUCTS, seed } from '../src/catalog.js'
import { openStores } from '../src/stores.js'

const schema = `test_${randomUUID().replaceAll('-', '')}`
let stores, server, base

before(async () => {
  const owner = await openStores(ofTheTest('public'))
  await owner.db.query(`create schema ${schema}`)
  await owner.close()
  stores = await openStores(ofTheTest(schema))
  server = createApp(stores).listen(0)
  await new Promise((listening) => server.once('listening', listening))
  base = `http://127.0.0.1:${server.address().port}`
})

beforeEach(async () => {
  await stores.cache.flushDb()
  await stores.db.query('truncate products, orders, order_items restart identity cascade')
  await seed(stores)
})

after(async () => {
  await stores.cache.flushDb()
  await stores.db.query(`drop schema ${schema} cascade`)
  await new Promise((closed) => server.close(closed))
  await stores.close()
})

function ofTheTest(schema) {
  const database = new URL(process.env.DATABASE_URL ?? 'postgres://app@127.0.0.1/app')
  database.searchParams.set('options', `-c search_path=${schema}`)
  const redis = new URL(process.env.REDIS_URL ?? 'redis://127.0.0.1')
  redis.pathname = '/1'
  return { DATABASE_URL: database.href, REDIS_URL: redis.href }
}

async function get(path) {
  const response = await fetch(base + path)
  return { status: response.status, headers: response.headers, body: await response.json() }
}

async function post(path, body) {
  const response = await fetch(base + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}

async function product(sku) {
  const { body } = await get('/api/products')
  return body.find((one) => one.sku === sku)
}

test('it is healthy while both databases are', async () => {
  const { status, body } = await get('/healthz')
  assert.deepEqual({ status, body }, { status: 200, body: { postgres: 'ok', redis: 'ok' } })
})

test('the list of products comes from the cache until one of them changes', async () => {
  const first = await get('/api/products')
  assert.deepEqual(first.body.map((one) => one.sku).sort(), PRODUCTS.map((one) => one.sku).sort())
  assert.equal(first.headers.get('x-cache'), 'miss')
  const second = await get('/api/products')
  assert.equal(second.headers.get('x-cache'), 'hit')
  assert.deepEqual(second.body, first.body)

  const mug = await product('MUG-3')
  await post('/api/orders', { customer: 'Ada', items: [{ productId: mug.id, quantity: 2 }] })
  const third = await get('/api/products')
  assert.equal(third.headers.get('x-cache'), 'miss')
  assert.equal((await product('MUG-3')).stock, mug.stock - 2)
})

test('an order is written with its items and at the prices of then', async () => {
  const [lamp, mug] = [await product('LAMP-2'), await product('MUG-3')]
  const items = [
    { productId: mug.id, quantity: 3 },
    { productId: lamp.id, quantity: 1 },
  ]
  const placed = await post('/api/orders', { customer: ' Ada ', items })
  assert.equal(placed.status, 201)
  assert.equal(placed.body.totalCents, 3 * mug.priceCents + lamp.priceCents)
  await stores.db.query('update products set price_cents = price_cents + 1')

  const { body } = await get('/api/orders')
  assert.equal(body.length, 1)
  assert.equal(body[0].customer, 'Ada')
  assert.deepEqual(
    body[0].items.map(({ name, quantity, priceCents }) => ({ name, quantity, priceCents })),
    [
      { name: lamp.name, quantity: 1, priceCents: lamp.priceCents },
      { name: mug.name, quantity: 3, priceCents: mug.priceCents },
    ],
  )
})

test('what is not there is not sold, and nothing of that order is', async () => {
  const [lamp, mug] = [await product('LAMP-2'), await product('MUG-3')]
  const items = [
    { productId: mug.id, quantity: 1 },
    { productId: lamp.id, quantity: lamp.stock + 1 },
  ]
  const refused = await post('/api/orders', { customer: 'Ada', items })
  assert.deepEqual(refused, { status: 409, body: { error: `of ${lamp.name} there are ${lamp.stock} left` } })
  assert.equal((await product('MUG-3')).stock, mug.stock)
  assert.deepEqual((await get('/api/orders')).body, [])
})

test('of many who want the last ones as many get them as there are', async () => {
  const { id, stock } = await product('COMP-1')
  const wanted = Array.from({ length: stock + 5 }, (_, number) =>
    post('/api/orders', { customer: `customer ${number}`, items: [{ productId: id, quantity: 1 }] }),
  )
  const statuses = (await Promise.all(wanted)).map(({ status }) => status)
  assert.equal(statuses.filter((status) => status === 201).length, stock)
  assert.equal(statuses.filter((status) => status === 409).length, 5)
  assert.equal((await product('COMP-1')).stock, 0)
  assert.equal((await get('/api/orders')).body.length, stock)
})

test('what is no order is refused in words', async () => {
  const items = [{ productId: 1, quantity: 1 }]
  for (const [body, status, words] of [
    [{}, 400, 'customer'],
    [{ customer: '  ', items }, 400, 'customer'],
    [{ customer: 'a'.repeat(101), items }, 400, 'customer'],
    [{ customer: 'Ada', items: [] }, 400, 'items'],
    [{ customer: 'Ada', items: [null] }, 400, 'quantity'],
    [{ customer: 'Ada', items: [{ productId: 1, quantity: 0 }] }, 400, 'quantity'],
    [{ customer: 'Ada', items: [{ productId: 1, quantity: 1.5 }] }, 400, 'quantity'],
    [{ customer: 'Ada', items: [{ productId: '1; drop table orders', quantity: 1 }] }, 400, 'productId'],
    [{ customer: 'Ada', items: [...items, ...items] }, 400, 'twice'],
    [{ customer: 'Ada', items: [{ productId: 999_999, quantity: 1 }] }, 404, 'no product 999999'],
    ['{"customer": ', 400, 'JSON'],
  ]) {
    const refused = await post('/api/orders', body)
    assert.equal(refused.status, status, JSON.stringify(body))
    assert.match(refused.body.error, new RegExp(words), JSON.stringify(body))
  }
  assert.deepEqual((await get('/api/orders')).body, [])
  assert.equal((await get('/api/nothing')).status, 404)
})

test('visits are counted', async () => {
  assert.deepEqual(await post('/api/visits'), { status: 200, body: { visits: 1 } })
  assert.deepEqual(await post('/api/visits'), { status: 200, body: { visits: 2 } })
})

test('seeding again adds nothing and restocks nothing', async () => {
  const mug = await product('MUG-3')
  await post('/api/orders', { customer: 'Ada', items: [{ productId: mug.id, quantity: 1 }] })
  assert.equal(await seed(stores), 0)
  assert.equal((await product('MUG-3')).stock, mug.stock - 1)
})
