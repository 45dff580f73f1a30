// What must be on the machine: the Debian package, what it is for, and how to see that it is there without asking dpkg.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { hasFile, hasProgram, root } from "./lib.mjs"

const withCheck = (item) => ({ ...item, present: () => (item.file ? hasFile(item.file) : hasProgram(item.program)) })

/** What vmtest uses; `vmtest doctor` reads the same list. */
const requirements = JSON.parse(readFileSync(join(root, "src", "cli", "requirements.json"), "utf8")).map(withCheck)

/** To run vmtest. */
export const runtime = requirements.filter((item) => !item.optional)

/** To run the tests as well. */
export const testing = [
  ...requirements.filter((item) => item.optional),
  ...[
    { package: "erlang-base", program: "erl", why: "the actors are compared with Erlang/OTP itself" },
    { package: "cpio", program: "cpio", why: "our archives are read back by it" }
  ].map(withCheck)
]
