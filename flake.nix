{
  description = "hfc: LLM model graphs to fused HIP kernels for AMD GPUs, and the runtime that serves them";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.callPackage ./packaging/nix/package.nix { };
      });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [ pkgs.python3 pkgs.uv pkgs.ruff ];
          shellHook = "echo 'scripts/check runs the tests, scripts/demo answers a question'";
        };
      });

      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./packaging/nix/module.nix ];
          services.hfc.package = nixpkgs.lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        };
    };
}
