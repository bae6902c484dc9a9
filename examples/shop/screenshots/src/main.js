// node src/main.js PROJECT FOLDER, started by ../screenshots.sh
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { chromium } from 'playwright-core'

import { ShopPage } from './page.js'
import { Project } from './project.js'

const CUSTOMER = 'Ada Lovelace'
/** What the heading is made of. */
const SOURCE = 'frontend/src/App.tsx'

const [name, folder] = process.argv.slice(2)
const { INGRESS_ADDRESS } = process.env
const project = new Project(name, process.env)
await mkdir(folder, { recursive: true })

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  // Chromium has none for root.
  chromiumSandbox: process.getuid() !== 0,
  args: INGRESS_ADDRESS ? [`--host-resolver-rules=MAP * ${INGRESS_ADDRESS}`] : [],
})
try {
  const shop = new ShopPage(await browser.newPage({ viewport: { width: 1280, height: 800 } }))
  const link = await project.link('web')
  const page = new URL('/', link).href
  await shop.open(link)

  const order = await shop.order(CUSTOMER, ['MUG-3', 'FISH-1'])
  console.log(`screenshots: order ${order} is placed`)

  const source = await project.read(SOURCE)
  const heading = `Harbour shop, since order ${order}`
  const edited = source.replace(/<h1>.*<\/h1>/, `<h1>⚓ ${heading}</h1>`)
  await shop.shows(heading, () => project.write(SOURCE, edited))
  console.log('screenshots: an edit shows on the page that is open')

  const before = await shop.text()
  await shop.screenshot(join(folder, 'before-hibernation.png'))

  await project.hibernate()
  const asleep = await shop.status(page)
  assert.notEqual(asleep, 200, 'a project that sleeps shows a page')
  console.log(`screenshots: it sleeps, and its host answers ${asleep}`)

  await project.wake()
  await shop.open(page)
  const after = await shop.text()
  await shop.screenshot(join(folder, 'after-wake.png'))

  assert.ok(after.orders.some((text) => text.includes(CUSTOMER)), 'the order is gone')
  assert.deepEqual(after.orders, before.orders)
  assert.deepEqual(after.products, before.products)
  assert.equal(after.heading, before.heading)
  assert.ok(after.visits > before.visits, `visit ${before.visits} was before visit ${after.visits}`)
  console.log(`screenshots: order ${order} is there after it, and so are all ${after.products.length} products`)
  console.log(`screenshots: visit ${before.visits} before it, visit ${after.visits} after it`)

  await project.write(SOURCE, source)
} finally {
  await browser.close()
}
