# The flake and its module against a stand-in for nixpkgs: names that they use, with the types and defaults that options have.
{ root, settings }:
let
  type = name: check: { inherit name check; };
  lib = rec {
    genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
    mkDefault = value: value;
    mkIf = condition: value: if condition then value else { };
    mkOption = option: option // { isOption = true; };
    mkEnableOption = description: mkOption { type = types.bool; default = false; inherit description; };
    literalExpression = text: text;
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: value: if condition then value else { };
    escapeShellArgs = words: builtins.concatStringsSep " " (map (w: if builtins.match "[a-zA-Z0-9/:._-]+" w != null then w else "'${w}'") words);
    makeLibraryPath = packages: builtins.concatStringsSep ":" (map (p: "${p}/lib") packages);
    cleanSource = path: path;
    licenses.mit = "MIT";
    types = {
      bool = type "bool" builtins.isBool;
      str = type "str" builtins.isString;
      path = type "path" (v: builtins.isString v || builtins.isPath v);
      port = type "port" (v: builtins.isInt v && v >= 0 && v < 65536);
      package = type "package" (v: builtins.isString v || builtins.isAttrs v);
      listOf = of: type "listOf" (v: builtins.isList v && builtins.all of.check v);
      nullOr = of: type "nullOr" (v: v == null || of.check v);
    };
  };
  python3Packages = {
    setuptools = "setuptools";
    buildPythonPackage = given: given;
    buildPythonApplication = given: given // { outPath = "/nix/store/hfc-${given.version}"; };
  } // lib.genAttrs [
    "numpy" "lark" "networkx" "jinja2" "msgspec" "tokenizers" "sentencepiece" "gguf" "rich" "prompt-toolkit" "huggingface-hub" "fastapi"
    "uvicorn" "prometheus-client" "llguidance" "starlette" "h11" "pydantic" "idna" "pyyaml" "requests" "tqdm" "urllib3"
  ] (name: name);
  packagesOf = system: {
    inherit lib python3Packages;
    stdenv.hostPlatform.system = system;
    fetchPypi = given: given;
    python3 = "python3"; uv = "uv"; ruff = "ruff";
    mkShell = given: given;
    formats.toml = _: { type = type "toml" builtins.isAttrs; generate = name: value: builtins.toJSON value; };
    callPackage = file: more: import file ({ inherit lib python3Packages; stdenv.hostPlatform.system = system; fetchPypi = given: given; } // more);
  };
  nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packagesOf; };
  flake = import (root + "/flake.nix");
  outputs = flake.outputs { inherit nixpkgs; self = outputs; };
  pkgs = packagesOf "x86_64-linux";
  outer = outputs.nixosModules.default { inherit pkgs; };
  module = import (builtins.head outer.imports);
  given = { package = outer.services.hfc.package; } // settings;
  checked = name: option:
    let value = given.${name} or option.default; in
    if option.type.check value then value else throw "services.hfc.${name} is no ${option.type.name}";
  declared = (module { inherit lib pkgs; config = { }; }).options.services.hfc;
  unknown = builtins.filter (name: ! declared ? ${name}) (builtins.attrNames given);
  values = if unknown == [ ] then builtins.mapAttrs checked declared else throw "services.hfc has no ${toString unknown}";
  result = (module { inherit lib pkgs; config.services.hfc = values; }).config;
in
{
  version = outputs.packages.x86_64-linux.default.version;
  dependencies = map (d: d.pname or d) outputs.packages.x86_64-linux.default.dependencies;
  compilers = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (s: (builtins.head outputs.packages.${s}.default.dependencies).src.sha256);
  shell = outputs.devShells.x86_64-linux.default.packages;
  service = if result == { } then null else result.systemd.services.hfc;
  broken = map (a: a.message) (builtins.filter (a: !a.assertion) (result.assertions or [ ]));
  toml = result.environment.etc."hfc/hfc.toml".source or null;
  ports = result.networking.firewall.allowedTCPPorts or [ ];
}
