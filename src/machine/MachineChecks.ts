/**
 * What must be true of the machines of a test together: names, addresses, ports of the host, memory.
 *
 * **Example** (The machines of a test)
 *
 * ```ts
 * const specs = yield* MachineChecks.checkAll({ web: { image: Image.tiny() }, db: { image: Image.tiny() } })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Addresses from "../network/Addresses.ts"
import type { NetworkSpec } from "../network/NetworkSpec.ts"
import * as Names from "./internal/names.ts"
import { check, HostLimits, InvalidMachine, type MachineOptions, type MachineSpec, size } from "./MachineSpec.ts"

/**
 * Checks that no two cards, those of `others` included, have the same MAC, nor the same IP address on one network, and that the hosts files which images bring along
 * (`files: { "/etc/hosts": … }`) give no machine's name to another address than the machine's. Such a name would lead there, or to both.
 */
export const checkAddresses = (
  machines: ReadonlyArray<{ readonly spec: MachineSpec; readonly self: Addresses.AddressedNode }>,
  others: ReadonlyArray<Addresses.AddressedNode> = []
): Effect.Effect<void, InvalidMachine> =>
  Effect.suspend(() => {
    const conflict = Addresses.conflict([...others, ...machines.map(({ self }) => self)])
    if (conflict !== undefined) {
      const { card, machine, reason } = conflict
      return new InvalidMachine({ machine, option: `vlans[${card}]`, reason })
    }
    const problem = Names.hostsProblemOf(machines.map(({ self, spec }) => ({ image: spec.image, node: self })))
    return problem === undefined ? Effect.void : new InvalidMachine({ ...problem, option: "name" })
  })

/** Checks that a port of the host leads to one port of one machine. Fails with the first `InvalidMachine`. */
export const checkForwards = Effect.fnUntraced(function* (specs: ReadonlyArray<MachineSpec>) {
  const taken = new Map<string, string>()
  for (const { forwards, name } of specs) {
    for (const [index, { hostPort, protocol }] of forwards.entries()) {
      const port = `${protocol} port ${hostPort}`
      const other = taken.get(port)
      if (other !== undefined) {
        const reason = `forwards[${index}].hostPort must be a port of its own, got ${hostPort}, which leads to ${other} already`
        return yield* new InvalidMachine({ machine: name, option: "forwards", reason })
      }
      taken.set(port, name)
    }
  }
})

/**
 * Checks the declarations of all machines of a test together.
 *
 * Fails with the first `InvalidMachine`; two names that differ only in case are refused, because host names are not case-sensitive, and so is
 * more memory than the host has for all of them, an address that two cards have, and a name that an image's hosts file gives to another address.
 */
export const checkAll = Effect.fnUntraced(function* (
  machines: Readonly<Record<string, MachineOptions>>,
  networks?: ReadonlyArray<NetworkSpec>
) {
  const seen = new Map<string, string>()
  for (const name of Object.keys(machines)) {
    const twin = seen.get(name.toLowerCase())
    if (twin !== undefined) {
      return yield* new InvalidMachine({
        machine: name,
        option: "name",
        reason: `name must differ from ${JSON.stringify(twin)} in more than case: host names are not case-sensitive`
      })
    }
    seen.set(name.toLowerCase(), name)
  }
  const specs = yield* Effect.forEach(Object.entries(machines), ([name, options]) => check(name, options, networks))
  yield* checkAddresses(
    Addresses.assign(specs).map((self) => ({ self, spec: specs.find(({ name }) => name === self.name)! }))
  )
  yield* checkForwards(specs)
  const limits = yield* HostLimits
  let together = 0
  for (const spec of specs) {
    together += spec.memory
    if (together > limits.memory) {
      const reason = `memory must be at most what the machines before it leave of the ${size(limits.memory)} of this host, got ${size(spec.memory)}, together ${size(together)}`
      return yield* new InvalidMachine({ machine: spec.name, option: "memory", reason })
    }
  }
  return specs
})
