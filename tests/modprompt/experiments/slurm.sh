#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests: its own munge key, folders and ports, nothing of the system's.
# Usage: slurm.sh start FOLDER   prints the SLURM_CONF to use; 3 if Slurm is not installed, or this is not root
#        slurm.sh stop FOLDER
# Debian has what it needs in the packages slurm-wlm and munge.
set -euo pipefail
[[ $# -eq 2 ]] || { grep -o 'Usage: .*' "$0" >&2; exit 2; }
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export PATH=$PATH:/usr/sbin:/sbin

stop() {
  local name
  export SLURM_CONF=$folder/slurm.conf
  timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 30); do # the runs end before the daemons that watch them
    [[ -n $(timeout 10 squeue --noheader 2>/dev/null) ]] || break
    sleep 0.5
  done
  for name in slurmd slurmctld munged; do
    [[ -f $folder/$name.pid ]] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
  local need host
  for need in munged slurmctld slurmd sbatch; do
    command -v "$need" >/dev/null || { echo "not installed: $need" >&2; exit 3; }
  done
  [[ $(id -u) -eq 0 ]] || { echo "slurmd must be started by root" >&2; exit 3; }
  host=$(hostname -s)
  mkdir -p "$folder/state" "$folder/spool"
  head -c 1024 /dev/urandom >"$folder/munge.key"
  chmod 400 "$folder/munge.key"
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" --num-threads=2
  # cred_expire: a requeued run starts again no sooner than that
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=2,batch_sched_delay=1
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  echo "CgroupPlugin=disabled" >"$folder/cgroup.conf"
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -f "$SLURM_CONF" >/dev/null 2>&1
  slurmd -f "$SLURM_CONF" -N "$host" >/dev/null 2>&1
  for _ in $(seq 60); do
    if [[ $(sinfo --noheader --format=%T 2>/dev/null) = idle ]]; then
      echo "$SLURM_CONF"
      exit 0
    fi
    sleep 0.5
  done
  echo "Slurm did not come up:" >&2
  tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log" >&2 || true
  stop
  exit 3
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) exit 2 ;;
esac
