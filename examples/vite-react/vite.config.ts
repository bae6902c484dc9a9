import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// PORT comes from Remora: the port of the container that the router forwards to.
export default defineConfig({
  plugins: [react()],
  server: { host: '127.0.0.1', port: Number(process.env.PORT ?? 5173), strictPort: true },
})
