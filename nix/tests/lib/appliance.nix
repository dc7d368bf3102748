# A whole appliance in one machine: the embedded forge beside it, an app of a few kilobytes, Traefik from nixpkgs, and the
# published keys. Nothing is fetched while a test runs.
{ pkgs, ... }:
let
  image =
    name: args:
    pkgs.dockerTools.buildImage (
      {
        inherit name;
        tag = "test";
      }
      // args
    );
  images = [
    (image "traefik" {
      copyToRoot = [
        pkgs.traefik
        pkgs.cacert
      ];
      config = {
        Entrypoint = [ "/bin/traefik" ];
        Env = [ "PATH=/bin" ];
      };
    })
    (image "page" {
      copyToRoot = [
        pkgs.busybox
        (pkgs.writeTextDir "www/index.html" "a page\n")
      ];
      config = {
        Cmd = [
          "/bin/httpd"
          "-f"
          "-p"
          "80"
          "-h"
          "/www"
        ];
        Env = [ "PATH=/bin" ];
      };
    })
  ];
in
{
  virtualisation = {
    memorySize = 3072;
    cores = 2;
    diskSize = 8192;
  };

  services.cc-ci = {
    enable = true;
    domain = "ci.example.org";
    forge = {
      url = "http://127.0.0.1:3000";
      organisation = "recipes";
    };
    secretsFile = ../../../secrets/example.yaml;
    secrets.hostKey = ../keys/host;
    settings = {
      forge.poll.interval = "1s";
      proxy.image = "traefik:test";
      proxy.ca_file = "/etc/cc-ci/authority.pem";
    };
  };
  environment.etc."cc-ci/authority.pem".source = ../keys/authority.pem;

  systemd.services.test-images = {
    description = "The images that the test deploys";
    requires = [ "docker.service" ];
    after = [ "docker.service" ];
    before = [ "cc-ci-proxy.service" ];
    wantedBy = [ "multi-user.target" ];
    path = [ pkgs.docker ];
    script = pkgs.lib.concatMapStringsSep "\n" (image: "docker load --input ${image}") images;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };

  systemd.services.test-forge = {
    description = "The embedded forge";
    before = [ "cc-ci-server.service" ];
    wantedBy = [ "multi-user.target" ];
    path = [ pkgs.git ];
    serviceConfig = {
      Type = "exec";
      ExecStart = "${pkgs.lib.getExe pkgs.cc-ci} dev forge --listen 127.0.0.1:3000 --dir /var/lib/test-forge";
      StateDirectory = "test-forge";
    };
  };

  environment.systemPackages = [
    pkgs.curl
    pkgs.jq
  ];
}
