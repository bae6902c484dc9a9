import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// Where the API is: in a project the environment says it.
const { PORT = '5173', REMORA_SERVICE_API_HOST = '127.0.0.1', REMORA_SERVICE_API_PORT = '8080' } = process.env

export default defineConfig({
  plugins: [react()],
  server: {
    host: true,
    port: Number(PORT),
    strictPort: true,
    // Nobody comes here but through the project's own host, whose name the operator chooses.
    allowedHosts: true,
    proxy: { '/api': `http://${REMORA_SERVICE_API_HOST}:${REMORA_SERVICE_API_PORT}` },
  },
})
