/** A QEMU without a machine, whose network back ends carry frames between this process and something else, through a hub. */
import * as Evidence from "../../host/Evidence.ts"

/** The program. Any emulated processor does, as there is none. */
export const program = "qemu-system-x86_64"

/** Its words; `left` and `right` are two `-netdev`s without their ids. */
export const words = (left: string, right: string): ReadonlyArray<string> => [
  ...["-M", "none", "-no-user-config", "-nodefaults", "-display", "none"],
  ...["-netdev", withId(left, "left"), "-netdev", withId(right, "right")],
  ...["-netdev", "hubport,id=leftport,hubid=0,netdev=left", "-netdev", "hubport,id=rightport,hubid=0,netdev=right"]
]

const withId = (netdev: string, id: string) => netdev.replace(/^[^,]*/, (type) => `${type},id=${id}`)

/** The end of what it printed to a file, without the warning of QEMU 7.2 that its hub has no card. */
export const endOf = (file: string): string =>
  Evidence.endOf(file)
    .split("\n")
    .filter((line) => !line.includes("with no nics"))
    .join("\n")
    .trim()
