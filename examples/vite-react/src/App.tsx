import { format } from 'date-fns'
import { Fish } from 'lucide-react'
import { useState } from 'react'

export function App() {
  const [count, setCount] = useState(0)
  return (
    <main>
      <h1>
        <Fish /> Hello from the pod
      </h1>
      <p>{format(new Date(), 'PPPP')}</p>
      <button onClick={() => setCount(count + 1)}>clicked {count} times</button>
    </main>
  )
}
