# cc-ci itself. Version and dependencies are Cargo's; nothing is said twice.
{
  lib,
  rustPlatform,
  git,
  installShellFiles,
  lua5_4,
  stdenv,
}:
rustPlatform.buildRustPackage {
  pname = "cc-ci";
  inherit ((lib.importTOML ../Cargo.toml).package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../migrations
      ../recipes
      ../src
      ../tests
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  # The profile that ships: smaller, slower to build.
  buildType = "dist";

  # Recipe scripts in Fennel are compiled by this one file.
  env.CC_CI_FENNEL = "${lua5_4.pkgs.fennel}/share/lua/5.4/fennel.lua";

  # Most tests deploy on a Swarm, which a build cannot have: `scripts/test` and the VM tests run them.
  doCheck = false;
  nativeCheckInputs = [ git ];

  # Made by the program itself, so only where it can run.
  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    mkdir -p $out/share/cc-ci
    cp -r recipes $out/share/cc-ci/recipes
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    installShellCompletion --cmd cc-ci \
      --bash <($out/bin/cc-ci completions bash) \
      --zsh <($out/bin/cc-ci completions zsh) \
      --fish <($out/bin/cc-ci completions fish)
    $out/bin/cc-ci man man
    installManPage man/*.1
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    $out/bin/cc-ci --version
    runHook postInstallCheck
  '';

  meta = {
    description = "Tests pull requests of Co-op Cloud recipes by deploying them for real";
    license = lib.licenses.agpl3Plus;
    mainProgram = "cc-ci";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
