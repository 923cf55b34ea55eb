# services.hfc: the unit of packaging/systemd/hfc.service, with NixOS options.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.hfc;
  toml = pkgs.formats.toml { };
in
{
  options.services.hfc = {
    enable = lib.mkEnableOption "hfc, an OpenAI server for language models";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The hfc to run.";
    };
    models = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "smollm2:135m" ];
      description = "Names, bundles, folders or .gguf files; one is loaded at once, several when they are asked for.";
    };
    host = lib.mkOption {
      type = lib.types.str;
      default = "127.0.0.1";
      description = "Address to listen on; others than loopback need environmentFile with an HFC_API_KEY.";
    };
    port = lib.mkOption {
      type = lib.types.port;
      default = 11435;
      description = "Port to listen on.";
    };
    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether others reach the port.";
    };
    device = lib.mkOption {
      type = lib.types.str;
      default = "auto";
      example = "hip:1";
      description = "Where models run: auto, host, hip, hip:1, an architecture or a part of a card's name.";
    };
    settings = lib.mkOption {
      type = toml.type;
      default = { };
      example = { serve.slots = 8; ctx = "32k"; };
      description = "hfc.toml: docs/settings.md.";
    };
    hipLibraries = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.rocmPackages.clr ]";
      description = "Packages whose lib folders hold libamdhip64, for AMD cards.";
    };
    environmentFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      description = "A file with HFC_API_KEY=..., read by systemd and never copied to the store.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.environmentFile != null || builtins.elem cfg.host [ "127.0.0.1" "::1" "localhost" ];
        message = "services.hfc.host = \"${cfg.host}\" is reached by others: set services.hfc.environmentFile to a file with HFC_API_KEY";
      }
    ];
    environment.systemPackages = [ cfg.package ];
    environment.etc."hfc/hfc.toml".source = toml.generate "hfc.toml" cfg.settings;
    networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall cfg.port;
    systemd.services.hfc = {
      description = "hfc, an OpenAI server for language models";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      environment = {
        XDG_CONFIG_HOME = "/etc";
        HFC_CACHE = "/var/cache/hfc";
        HF_HOME = "/var/lib/hfc/huggingface";
        HFC_DEVICE = cfg.device;
      } // lib.optionalAttrs (cfg.hipLibraries != [ ]) { LD_LIBRARY_PATH = lib.makeLibraryPath cfg.hipLibraries; };
      serviceConfig = {
        Type = "exec";
        ExecStart = lib.escapeShellArgs ([ "${cfg.package}/bin/hfc" "serve" ] ++ cfg.models ++ [ "--host" cfg.host "--port" (toString cfg.port) ]);
        WorkingDirectory = "/var/lib/hfc";
        Restart = "on-failure";
        RestartSec = 5;
        TimeoutStopSec = 45;
        TimeoutStartSec = "infinity";
        DynamicUser = true;
        StateDirectory = "hfc";
        CacheDirectory = "hfc";
        SupplementaryGroups = [ "render" "video" ];
        DevicePolicy = "closed";
        DeviceAllow = [ "/dev/kfd rw" "char-drm rw" ];
        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged" ];
        UMask = "0077";
      } // lib.optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = cfg.environmentFile; };
    };
  };
}
