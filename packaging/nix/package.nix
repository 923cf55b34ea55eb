# hfc and its compiler. The compiler's wheel holds programs that are linked statically: they run on NixOS as they are.
{ lib, stdenv, python3Packages, fetchPypi }:
let
  wheels = {
    x86_64-linux = {
      platform = "manylinux_2_12_x86_64.manylinux2010_x86_64.musllinux_1_1_x86_64";
      sha256 = "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54";
    };
    aarch64-linux = {
      platform = "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64";
      sha256 = "b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e";
    };
  };
  wheel = wheels.${stdenv.hostPlatform.system} or (throw "hfc: no compiler for ${stdenv.hostPlatform.system}; ${toString (builtins.attrNames wheels)} have one");
  ziglang = python3Packages.buildPythonPackage {
    pname = "ziglang";
    version = "0.17.1";
    format = "wheel";
    src = fetchPypi {
      pname = "ziglang";
      version = "0.17.1";
      format = "wheel";
      dist = "py3";
      python = "py3";
      inherit (wheel) platform sha256;
    };
    dontStrip = true;
  };
in
python3Packages.buildPythonApplication {
  pname = "hfc";
  version = builtins.head (builtins.match ''.*__version__ = "([^"]+)".*'' (builtins.readFile ../../hfc/__init__.py));
  pyproject = true;
  src = lib.cleanSource ../..;
  build-system = [ python3Packages.setuptools ];
  dependencies = [ ziglang ] ++ (with python3Packages; [
    numpy lark networkx jinja2 msgspec tokenizers sentencepiece gguf rich prompt-toolkit huggingface-hub fastapi uvicorn
    prometheus-client llguidance starlette h11 pydantic idna pyyaml requests tqdm urllib3
  ]);
  # AMD's bindings are a wheel of their own: an AMD card needs them and services.hfc.hipLibraries, the CPU neither.
  pythonRemoveDeps = [ "rocm-bindings-hip" ];
  doCheck = false;
  pythonImportsCheck = [ "hfc.cli" ];
  meta = {
    description = "Compiler and server of language models for AMD GPUs and CPUs";
    license = lib.licenses.mit;
    mainProgram = "hfc";
    platforms = builtins.attrNames wheels;
  };
}
