import { countVisit } from './api.ts'

/** Counted once for each time that the page is opened, however often it is rendered. */
export const visit = countVisit()
