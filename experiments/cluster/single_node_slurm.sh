#!/usr/bin/env bash
# A real SLURM on this machine alone, to try a sweep on before it goes to a cluster.
#
#     experiments/cluster/single_node_slurm.sh start [folder]    install, start, and print what to export
#     experiments/cluster/single_node_slurm.sh stop  [folder]
#
# For Debian and its like, in containers too: no systemd, no cgroups, no accounting. Everything is in the
# folder (default /tmp/single-node-slurm) and listens on loopback; an existing SLURM is left alone.
set -euo pipefail

[[ $EUID -eq 0 ]] || exec sudo "$0" "$@"
action=${1:-} folder=${2:-/tmp/single-node-slurm}
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin

install_packages() {
    local name missing=
    for name in slurmctld slurmd munged sbatch; do command -v "$name" >/dev/null || missing=yes; done
    [[ $missing ]] || return 0
    apt-get -qq update
    # The packages would start daemons of their own; ours have another configuration.
    printf '#!/bin/sh\nexit 101\n' >"$folder/no-daemons" && chmod +x "$folder/no-daemons"
    DEBIAN_FRONTEND=noninteractive POLICYRCD=$folder/no-daemons \
        apt-get -qq install --yes --no-install-recommends slurmctld slurmd slurm-client munge >"$folder/install.log"
}

is_up() { [[ $(timeout 5 sinfo --noheader --format=%T 2>/dev/null) =~ ^(idle|mixed|allocated)$ ]]; }

configure() {
    local host
    host=$(hostname -s)
    mkdir -p "$folder"/{state,spool}
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")
    cat >"$SLURM_CONF" <<CONF
ClusterName=single
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc)
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE
CONF
}

start() {
    mkdir -p "$folder"
    install_packages
    if [[ -e $SLURM_CONF ]] && is_up; then
        echo "export SLURM_CONF=$SLURM_CONF"
        return
    fi
    configure
    munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
    slurmctld
    slurmd
    for _ in $(seq 100); do
        if is_up; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    echo "SLURM did not start; see the logs in $folder." >&2
    exit 1
}

stop() {
    local daemon pid
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$folder/$daemon.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    done
}

case $action in
start | stop) "$action" ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
