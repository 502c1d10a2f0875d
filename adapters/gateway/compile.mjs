// Compiles every contract and writes artifacts/, or, with --check, compares what is there byte for byte.
//   npm ci && node compile.mjs [--check]
import { createRequire } from "node:module";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");
const { keccak256 } = require("js-sha3");
const root = dirname(fileURLToPath(import.meta.url));
const contractsDir = join(root, "contracts");
const artifactsDir = join(root, "artifacts");

const settings = {
  evmVersion: "london",
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
  },
};

function sourcesBelow(dir) {
  return readdirSync(join(contractsDir, dir), { withFileTypes: true }).flatMap((item) => {
    const path = dir === "" ? item.name : `${dir}/${item.name}`;
    if (item.isDirectory()) return sourcesBelow(path);
    return path.endsWith(".sol") ? [path] : [];
  });
}

function compile() {
  const paths = sourcesBelow("").sort();
  const sources = Object.fromEntries(
    paths.map((path) => [path, { content: readFileSync(join(contractsDir, path), "utf8") }]),
  );
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  const messages = (output.errors ?? []).map((error) => error.formattedMessage);
  if (messages.length > 0) {
    console.error(messages.join("\n"));
    process.exit(1);
  }
  return output.contracts;
}

// Contracts that can be deployed, by the file they are written to. Probes, which only tests deploy, lie apart.
function artifacts(contracts) {
  const { outputSelection, ...reported } = settings;
  const files = new Map();
  for (const [source, inFile] of Object.entries(contracts)) {
    for (const [name, contract] of Object.entries(inFile)) {
      const bytecode = contract.evm.bytecode.object;
      if (bytecode === "") continue;
      const runtime = contract.evm.deployedBytecode.object;
      const folder = source.startsWith("probes/") ? "probes/" : "";
      const artifact = {
        contract: name,
        source: `contracts/${source}`,
        compiler: solc.version(),
        settings: reported,
        abi: contract.abi,
        storage: contract.storageLayout.storage.map(({ label, slot, offset, type }) => ({
          label,
          slot,
          offset,
          type: type.replace(/\)\d+_storage/g, ")"),
        })),
        bytecode: `0x${bytecode}`,
        // Immutables are zero in it: compare a deployed contract only outside of their places.
        runtimeBytes: runtime.length / 2,
        runtimeKeccak256: `0x${keccak256(Buffer.from(runtime, "hex"))}`,
      };
      files.set(`${folder}${name}.json`, Buffer.from(`${JSON.stringify(artifact, null, 2)}\n`));
      // The init code once more, raw, for the crate to include.
      if (folder === "") files.set(`${name}.bin`, Buffer.from(bytecode, "hex"));
    }
  }
  return files;
}

function filesBelow(dir) {
  if (!existsSync(join(artifactsDir, dir))) return [];
  return readdirSync(join(artifactsDir, dir), { withFileTypes: true }).flatMap((item) => {
    const path = dir === "" ? item.name : `${dir}/${item.name}`;
    return item.isDirectory() ? filesBelow(path) : [path];
  });
}

const built = artifacts(compile());
if (process.argv.includes("--check")) {
  const different = [...built].filter(([path, bytes]) => {
    const file = join(artifactsDir, path);
    return !existsSync(file) || !readFileSync(file).equals(bytes);
  });
  const extra = filesBelow("").filter((path) => !built.has(path));
  if (different.length > 0 || extra.length > 0) {
    console.error(`artifacts differ: ${different.map(([path]) => path).join(" ")}; not built: ${extra.join(" ")}`);
    process.exit(1);
  }
  console.log(`${built.size} artifacts are what the sources give`);
} else {
  rmSync(artifactsDir, { recursive: true, force: true });
  for (const [path, bytes] of built) {
    const file = join(artifactsDir, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, bytes);
    if (path.endsWith(".json")) console.log(path, JSON.parse(bytes).runtimeBytes, "bytes at run time");
  }
}
