/** Services that the test has waited for and that may not listen yet: what explains a connection that is refused after the wait. */
import type { Guest } from "../Guest.ts"

interface NewUnit {
  readonly unit: string
  /** systemd's Type. */
  readonly type: string
}

/** The last of them, by guest; a refused connection is most likely about that one. */
const last = new WeakMap<Guest, NewUnit>()

/** What programs say of a port on which nobody listens. */
const refused = /connection refused|could(n't| not) connect|failed to connect|ECONNREFUSED/i

/** Remembers a service that was waited for and is active from the start of its program. */
export const note = (guest: Guest, unit: NewUnit): void => {
  last.set(guest, unit)
}

/** A port listens: what is refused from now on has another reason. */
export const forget = (guest: Guest): void => {
  last.delete(guest)
}

/** What may be the reason for the output of a failed command. Empty where nothing is known of one. */
export const explain = (guest: Guest, output: string): string => {
  const found = last.get(guest)
  if (found === undefined || !refused.test(output)) return ""
  const { type, unit } = found
  return `${unit} is a service of Type=${type}, which is active before it listens: wait for its port with waitForOpenPort`
}
