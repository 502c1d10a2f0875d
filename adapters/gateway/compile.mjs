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

const common = {
  evmVersion: "london",
  viaIR: true,
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const outputSelection = {
  "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] },
};

const usual = { ...common, optimizer: { enabled: true, runs: 200 } };

// For chains whose hash opcode is not keccak256. Two parts of the optimizer compute hashes of known values at compile
// time, and as keccak256: the load resolver (L in the list of steps) and the common subexpression eliminator. A slot
// computed there and a slot computed on the chain would differ, so both are off. The steps are solc's own without L.
const withoutHashFolding = {
  ...common,
  optimizer: {
    runs: 200,
    details: {
      peephole: true,
      inliner: true,
      jumpdestRemover: true,
      orderLiterals: true,
      deduplicate: true,
      cse: false,
      constantOptimizer: true,
      yul: true,
      yulDetails: {
        stackAllocation: true,
        optimizerSteps:
          "dhfoDgvulfnTUtnIf[xa[r]EscMVcul[j]Trpeulxa[r]cgvifMCTUca[r]SsTFOtfDnca[r]Iulc]jmul[jul]VcTOculjmul:fDnTOcmu",
      },
    },
  },
};

// Every source is compiled with everything it imports, but what is written is the contracts of its own folder.
const builds = [
  { isOf: (path) => !isPrecompileFlavour(path), settings: usual },
  { isOf: isPrecompileFlavour, settings: withoutHashFolding },
];

function isPrecompileFlavour(path) {
  return path.split("/").slice(0, -1).includes("precompile");
}

function sourcesBelow(dir) {
  return readdirSync(join(contractsDir, dir), { withFileTypes: true }).flatMap((item) => {
    const path = dir === "" ? item.name : `${dir}/${item.name}`;
    if (item.isDirectory()) return sourcesBelow(path);
    return path.endsWith(".sol") ? [path] : [];
  });
}

function source(path) {
  return { content: readFileSync(join(contractsDir, path), "utf8") };
}

function compile({ isOf, settings }) {
  const paths = sourcesBelow("").filter(isOf).sort();
  const sources = Object.fromEntries(paths.map((path) => [path, source(path)]));
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (path) => ({ contents: source(path).content }) }));
  const messages = (output.errors ?? []).map((error) => error.formattedMessage);
  if (messages.length > 0) {
    console.error(messages.join("\n"));
    process.exit(1);
  }
  return Object.fromEntries(Object.entries(output.contracts).filter(([path]) => isOf(path)));
}

// Contracts that can be deployed, by the file they are written to. Probes, which only tests deploy, lie apart.
function artifacts(contracts, settings) {
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
        settings,
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

const built = new Map(builds.flatMap((build) => [...artifacts(compile(build), build.settings)]));
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
