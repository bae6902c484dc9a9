const euros = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' })

export const price = (cents: number) => euros.format(cents / 100)
