# The released abra, by version and a hash for each system: a file that is not the one we know does not build.
{
  lib,
  stdenvNoCC,
  fetchurl,
}:
let
  version = "0.13.0-beta";
  files = {
    x86_64-linux = {
      name = "linux_amd64";
      hash = "sha256-hm1c2oWSnpl4fw84XQq46DdZoFGEOvyvZmnecLmZmok=";
    };
    aarch64-linux = {
      name = "linux_arm64";
      hash = "sha256-85lx9Q7DpGAAmqqo5jDtSAFieyZXH/uPsGQ5OQwF2os=";
    };
  };
  inherit (stdenvNoCC.hostPlatform) system;
  file = files.${system} or (throw "abra ${version}: nothing is known for ${system}");
in
stdenvNoCC.mkDerivation {
  pname = "abra";
  inherit version;

  src = fetchurl {
    url = "https://git.coopcloud.tech/coop-cloud/abra/releases/download/${version}/abra_${version}_${file.name}.tar.gz";
    inherit (file) hash;
  };
  # The archive has `abra` at its root, and no directory.
  sourceRoot = ".";

  dontConfigure = true;
  dontBuild = true;
  installPhase = ''
    runHook preInstall
    install -D -m 0755 abra $out/bin/abra
    runHook postInstall
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    HOME=$TMPDIR $out/bin/abra --version
    runHook postInstallCheck
  '';

  meta = {
    description = "Command line of Co-op Cloud";
    homepage = "https://docs.coopcloud.tech/abra";
    license = lib.licenses.gpl3Plus;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    mainProgram = "abra";
    platforms = builtins.attrNames files;
  };
}
