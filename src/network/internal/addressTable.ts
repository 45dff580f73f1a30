/** Which port a switch reaches an address by: that of the last frame from the address. */

/** How many addresses a switch remembers. A guest that makes up more of them makes the switch forget the oldest. */
const mostAddresses = 8192

export class AddressTable<Port> {
  private readonly ports = new Map<number, Port>()

  /** A frame came from an address. */
  learn(address: number, port: Port): void {
    if (this.ports.get(address) === port) return
    // Its place is the newest again.
    this.ports.delete(address)
    this.ports.set(address, port)
    if (this.ports.size > mostAddresses) {
      for (const oldest of this.ports.keys()) {
        this.ports.delete(oldest)
        break
      }
    }
  }

  find(address: number): Port | undefined {
    return this.ports.get(address)
  }
}
