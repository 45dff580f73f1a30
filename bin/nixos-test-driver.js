#!/usr/bin/env node
import { launch } from "./launch.js"

launch("nixos-test-driver", "nixos/nixos-test-driver.js")
