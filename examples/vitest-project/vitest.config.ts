import { defineConfig } from "vitest/config"

// vitest does not know how much memory machines need, so files with machines run one after the other.
export default defineConfig({ test: { include: ["tests/**/*.test.ts"], fileParallelism: false } })
