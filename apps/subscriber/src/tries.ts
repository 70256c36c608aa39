/** How often each event failed. A restart forgets it, which makes a few tries more. */
export class Tries {
  readonly #counts = new Map<string, number>();

  failed(id: string): number {
    const count = (this.#counts.get(id) ?? 0) + 1;
    this.#counts.delete(id);
    this.#counts.set(id, count);
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > 1_000 && oldest !== undefined) {
      this.#counts.delete(oldest);
    }
    return count;
  }

  done(id: string): void {
    this.#counts.delete(id);
  }
}
