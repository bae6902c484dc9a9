import { createApp } from './app.js'
import { openStores } from './stores.js'

// Before the first request the tables are there.
const stores = await openStores(process.env)
const server = createApp(stores).listen(process.env.PORT ?? 8080, (error) => {
  if (error) throw error
  console.log(`api: listening on port ${server.address().port}`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    // Requests that are under way are answered first.
    await new Promise((closed) => server.close(closed))
    await stores.close()
  })
}
