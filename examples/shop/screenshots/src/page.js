import { eventually } from './eventually.js'

/** The shop's page as a customer has it before them. */
export class ShopPage {
  #page

  constructor(page) {
    this.#page = page
  }

  /** Opens it and waits for the products. */
  async open(url) {
    // The ingress controller hears of a pod a moment after that is ready.
    await eventually('a page', 60, async () => (await this.status(url)) === 200)
    await this.#page.locator('.products > li').first().waitFor()
    await this.#page.locator('#visits').waitFor()
  }

  /** The status that the address answers with; 0 where it has nothing to show for it. */
  async status(url) {
    try {
      return (await this.#page.goto(url)).status()
    } catch (error) {
      if (/net::ERR_(HTTP_RESPONSE_CODE_FAILURE|EMPTY_RESPONSE|CONNECTION_\w+)/.test(error.message)) return 0
      throw error
    }
  }

  /** Orders one piece of each product, by the buttons that a customer has. Returns the order's number. */
  async order(customer, skus) {
    const before = await this.#newestOrder()
    for (const sku of skus) {
      await this.#page.locator(`[data-sku="${sku}"]`).getByRole('button', { name: 'Add to cart' }).click()
    }
    await this.#page.getByLabel('Your name').fill(customer)
    await this.#page.getByRole('button', { name: 'Order' }).click()
    const placed = this.#page.locator(`[data-order]:first-child:not([data-order="${before}"])`, { hasText: customer })
    return placed.getAttribute('data-order')
  }

  /** What the page says. */
  async text() {
    const texts = (selector) => this.#page.locator(selector).allInnerTexts()
    const visits = await this.#page.locator('#visits').innerText()
    return {
      heading: await this.#page.locator('h1').innerText(),
      products: await texts('.products > li'),
      orders: await texts('[data-order]'),
      visits: Number(visits.match(/\d+/)[0]),
    }
  }

  /** Waits for the heading that `edit` gives the page, which stays open and is not loaded again for it. */
  async shows(heading, edit) {
    await this.#page.evaluate(() => (window.isTheSame = true))
    await edit()
    await this.#page.locator('h1', { hasText: heading }).waitFor()
    if (!(await this.#page.evaluate(() => window.isTheSame))) throw new Error('the page was loaded again')
  }

  async screenshot(path) {
    await this.#page.screenshot({ path, fullPage: true })
  }

  async #newestOrder() {
    const orders = this.#page.locator('[data-order]')
    return (await orders.count()) === 0 ? '' : orders.first().getAttribute('data-order')
  }
}
