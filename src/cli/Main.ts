import type { Invocation } from "./CommandLine.ts"
export const main = (invocation: Invocation): void => {
  process.stdout.write(JSON.stringify(invocation) + "\n")
}
