#!/usr/bin/env bash
# A SLURM cluster of two nodes on this machine, with accounting, for `make test-slurm`.
#
#   cluster.sh start FOLDER    bring it up; needs root. FOLDER/environment has the variables
#   cluster.sh stop FOLDER     end the processes that start has noted in FOLDER/pids, and no other
#
# All files are in FOLDER, all ports are free ones on 127.0.0.1. Missing packages are installed on
# Debian and Ubuntu. Exit code 77: SLURM cannot run here, for the reason on standard output.
set -euo pipefail

HOST=$(hostname -s)
NODES=("$HOST" "$HOST-2")  # a job finds its first node by name
CPUS=8  # of each node, whatever the machine has
PROGRAMS=(slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db srun sacct)
PACKAGES=(slurm-wlm slurmdbd munge mariadb-server)

cannot() { echo "$*"; exit 77; }

missing() { for name in "${PROGRAMS[@]}"; do command -v "$name" >/dev/null || echo "$name"; done; }

install_packages() {
  [ -n "$(missing)" ] || return 0
  command -v apt-get >/dev/null || cannot "SLURM is not installed ($(missing | xargs)), nor is apt-get"
  local policy=/usr/sbin/policy-rc.d  # asked by packages before they start services
  if [ ! -e $policy ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  fi
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
      --no-install-recommends -o DPkg::Lock::Timeout=120 "${PACKAGES[@]}"; } >"$ROOT/log/apt" 2>&1 ||
    cannot "apt-get cannot install ${PACKAGES[*]}: $(tail -n 1 "$ROOT/log/apt")"
  [ -z "$(missing)" ] || cannot "the packages ${PACKAGES[*]} have no $(missing | xargs)"
}

free_ports() {
  python3 - "$1" <<'P'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
P
}

configure() {
  local port; read -r -a port <<<"$(free_ports 4)"
  cat >"$ROOT/slurm.conf" <<C
ClusterName=tests
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=${port[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$ROOT/state
SlurmctldPidFile=$ROOT/slurmctld.pid
SlurmctldLogFile=$ROOT/log/slurmctld
SlurmdSpoolDir=$ROOT/spool/%n
SlurmdPidFile=$ROOT/slurmd-%n.pid
SlurmdLogFile=$ROOT/log/slurmd-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${port[1]}
AccountingStorageUser=root
AccountingStoragePass=$ROOT/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
MpiDefault=none
MinJobAge=300
ReturnToService=1
JobRequeue=1
OverTimeLimit=0
KillWait=30
WaitTime=10
NodeName=${NODES[0]} NodeAddr=127.0.0.1 Port=${port[2]} CPUs=$CPUS RealMemory=8000
NodeName=${NODES[1]} NodeAddr=127.0.0.1 Port=${port[3]} CPUs=$CPUS RealMemory=8000
PartitionName=main Nodes=$(IFS=,; echo "${NODES[*]}") Default=YES MaxTime=600 State=UP
C
  # Not used; 22.05 cannot do without a plugin.
  case $(slurmd -V) in *\ 2[0-2].*) echo CgroupPlugin=cgroup/v1 ;; *) echo CgroupPlugin=disabled ;; esac \
    >"$ROOT/cgroup.conf"
  cat >"$ROOT/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=${port[1]}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile=$ROOT/log/slurmdbd
PidFile=$ROOT/slurmdbd.pid
C
  chmod 600 "$ROOT/slurmdbd.conf"
  head -c 1024 /dev/urandom >"$ROOT/munge.key"
  chmod 400 "$ROOT/munge.key"
}

run() {  # run NAME COMMAND...: in the background; its number and time of start become a line of pids
  local name=$1; shift
  setsid "$@" >"$ROOT/log/$name.out" 2>&1 </dev/null &
  echo "$! $(started $!) $name" >>"$ROOT/pids"
}

started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

wait_for() {  # wait_for WHAT LINE: until a line of shell succeeds, up to a minute
  local what=$1 end=$((SECONDS + 60))
  while [ $SECONDS -lt $end ]; do timeout 10 bash -c "$2" >/dev/null 2>&1 && return 0; sleep 0.1; done
  echo "no answer of $what; its log is in $ROOT/log:" >&2
  tail -n 5 "$ROOT/log/$what"* >&2
  stop
  exit 1
}

start() {
  [ "$(id -u)" = 0 ] || cannot "a cluster for tests can only be started as root"
  getent hosts "$HOST" >/dev/null || cannot "the name of this machine, $HOST, does not resolve"
  [ ! -s "$ROOT/pids" ] || { echo "$ROOT: a cluster was started here; stop it first" >&2; exit 1; }
  mkdir -p "$ROOT"/{log,state,spool,mysql}
  chmod 755 "$ROOT"
  install_packages
  configure
  printf 'SLURM_CONF=%s\nPROGRAMS=%s\n' "$SLURM_CONF" "$(dirname "$(command -v srun)")" \
    >"$ROOT/environment"
  run munged munged --foreground --force --key-file="$ROOT/munge.key" --socket="$ROOT/munge.socket" \
    --pid-file="$ROOT/munged.pid" --log-file="$ROOT/log/munged" --seed-file="$ROOT/munge.seed"
  mariadb-install-db --no-defaults --user=root --datadir="$ROOT/mysql" --skip-test-db \
    --auth-root-authentication-method=socket >"$ROOT/log/mariadb-install" 2>&1
  run mariadbd mariadbd --no-defaults --user=root --datadir="$ROOT/mysql" --skip-networking \
    --socket="$MYSQL_UNIX_PORT" --pid-file="$ROOT/mariadbd.pid" --innodb-buffer-pool-size=64M \
    --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0
  wait_for mariadbd "mariadb --no-defaults -e 'select 1'"
  wait_for munged "munge --socket='$ROOT/munge.socket' --no-input"
  run slurmdbd slurmdbd -D
  wait_for slurmdbd "sacctmgr -n show cluster"
  run slurmctld slurmctld -D
  for node in "${NODES[@]}"; do run "slurmd-$node" slurmd -D -N "$node"; done
  wait_for slurmctld '[ "$(sinfo -h -N -o %T | sort -u)" = idle ]'
  wait_for slurmdbd "sacctmgr -n show cluster | grep tests"
}

stop() {
  [ -s "$ROOT/pids" ] || return 0
  local signal pid since name end=$((SECONDS + 15))
  for signal in "--full --signal=KILL" ""; do
    # shellcheck disable=SC2086
    timeout 10 scancel --quiet $signal --user=root >/dev/null 2>&1 || true
  done
  while [ $SECONDS -lt $end ] && [ -n "$(timeout 5 squeue -h 2>/dev/null)" ]; do sleep 0.2; done
  for signal in TERM KILL; do
    tac "$ROOT/pids" | while read -r pid since name; do
      [ "$(started "$pid")" = "$since" ] && kill -$signal "$pid" 2>/dev/null || continue
      for _ in $(seq 50); do [ "$(started "$pid")" = "$since" ] || break; sleep 0.1; done
    done
  done
  rm -f "$ROOT/pids"
}

ROOT=$(realpath -m "${2:?usage: cluster.sh start|stop FOLDER}")
export SLURM_CONF=$ROOT/slurm.conf MYSQL_UNIX_PORT=$ROOT/mariadb.socket
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH  # tests hide SLURM
case $1 in start) start ;; stop) stop ;; *) echo "usage: cluster.sh start|stop FOLDER" >&2; exit 2 ;; esac
