#!/usr/bin/env node
import { launch } from "./launch.js"

launch("generate-driver-symbols", "nixos/generate-driver-symbols.js")
