# What server, runner and reconcilers all can do without. What one of them needs back, its own file says, with the reason.
{
  # Nothing of the system can be written; what may be is named in ReadWritePaths.
  ProtectSystem = "strict";
  ProtectHome = true;
  # Temporary files and devices of one's own: no disk, no memory, no other unit's sockets in /tmp.
  PrivateTmp = true;
  PrivateMounts = true;
  PrivateDevices = true;
  # The kernel: no knobs, no modules, no log, no clock, no name of the machine.
  ProtectKernelTunables = true;
  ProtectKernelModules = true;
  ProtectKernelLogs = true;
  ProtectClock = true;
  ProtectHostname = true;
  # Other people's processes are not seen.
  ProtectProc = "invisible";
  # No way up: no capability, no set-user-id program, none made.
  NoNewPrivileges = true;
  CapabilityBoundingSet = "";
  AmbientCapabilities = "";
  RestrictSUIDSGID = true;
  RestrictRealtime = true;
  LockPersonality = true;
  SystemCallArchitectures = "native";
  # What is refused fails as a call, and does not kill: a log line says more than a signal.
  SystemCallErrorNumber = "EPERM";
  RemoveIPC = true;
  KeyringMode = "private";
}
