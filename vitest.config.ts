import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Tests import the package by its public names; here they stand for the sources, so nothing has to be built first. */
const alias = [
  { find: /^vmtest$/, replacement: source("./src/index.ts") },
  { find: /^vmtest\/actors$/, replacement: source("./src/actors/index.ts") },
  { find: /^vmtest\/fleet$/, replacement: source("./src/fleet/index.ts") },
  { find: /^vmtest\/vitest$/, replacement: source("./src/vitest.ts") }
]

/** Real guests that take minutes to say what a change rarely breaks: run by `npm run proof -- guests`, not by `npm test`. */
const long = [
  "fleet-faults",
  "python",
  "machine-devices",
  "machine-faults",
  "machine-x11",
  "examples-broken",
  "transport-ways",
  "snapshots-ssh",
  "machine-rabbitmq",
  "nixos-test-driver-debian",
  "start-script",
  "start-script-9p",
  "start-script-efi",
  "keyboard-layouts",
  "network-bridge-netem",
  "network-clusters",
  "network-start-script"
].map((name) => `integration-tests/${name}.test.ts`)

/** Real guests under emulation on few cores: one file at a time, and time for a cold boot with a busy host. */
const guests = { fileParallelism: false, testTimeout: 300_000, hookTimeout: 900_000 }

export default defineConfig({
  test: {
    projects: [
      { resolve: { alias }, test: { name: "unit", include: ["test/**/*.test.ts"], testTimeout: 30_000 } },
      {
        resolve: { alias },
        test: {
          name: "integration",
          include: ["integration-tests/**/*.test.ts", "examples/*.test.ts", "web/*.test.ts"],
          exclude: long,
          ...guests
        }
      },
      { resolve: { alias }, test: { name: "long", include: long, ...guests } }
    ]
  }
})
