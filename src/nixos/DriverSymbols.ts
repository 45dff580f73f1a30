/**
 * The names that every test script in Python finds, as linters take them.
 *
 * **Example** (Write them to a file)
 *
 * ```ts
 * Fs.writeFileSync("driver-symbols", DriverSymbols.text)
 * ```
 *
 * @since 0.1.0
 */
import * as Surface from "../python/Surface.ts"

/** These are there in tests with one machine, or with a VLAN 1. */
const ofMachines = ["machine", "vlan1"]

/** The names of the driver, without those of machines and networks: nixpkgs adds them. */
export const names: ReadonlyArray<string> = Object.keys(Surface.names.script).filter(
  (name) => !ofMachines.includes(name)
)

/** The content of the file `driver-symbols`. */
export const text: string = names.join(",")
