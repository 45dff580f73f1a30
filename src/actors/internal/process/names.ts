/**
 * How a process is found by a name: in the system's own table, or through somebody else's registry.
 */
import type * as Pid from "../../Pid.ts"
import { implOf, type ProcessImpl } from "./process.ts"
import type { SystemImpl } from "./system.ts"

/**
 * A name kept by a registry of one's own. The functions are plain: they are called in the middle of a start or a send and
 * must answer at once.
 */
export interface Via {
  readonly _tag: "Via"
  /** Who has the name now, among the processes of the given actor system. */
  readonly whereis: (system: SystemImpl) => Pid.Any | undefined
  /**
   * Gives the name to a new process; the answer takes it back when the process ends. Only called when nobody has it.
   * `undefined` when the name cannot be given, because the registry does not run: the start fails with `NoProcess`.
   */
  readonly register: (pid: Pid.Any) => (() => void) | undefined
}

export type Name = string | Via

/** Whatever a message can be addressed to. */
export type Address = Pid.Any | Name

export const whereis = (system: SystemImpl, name: Name): ProcessImpl | undefined => {
  if (typeof name === "string") return system.names.get(name)
  const pid = name.whereis(system)
  return pid === undefined ? undefined : implOf(pid)
}
