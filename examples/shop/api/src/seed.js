import { openStores } from './stores.js'
import { seed } from './catalog.js'

const stores = await openStores(process.env)
try {
  const added = await seed(stores)
  console.log(`seed: ${added} products added`)
} finally {
  await stores.close()
}
