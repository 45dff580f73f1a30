/** A value as a script in JavaScript passes it: no compiler has looked at it. */
export const untyped = <A>(value: unknown): A => value as A
