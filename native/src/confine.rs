//! What a process of qshd gives up for good: capabilities, new rights, files, and most of the system call interface.
//!
//! A call that no code here could have made ends the process (`DEADLY`). One that is merely not foreseen, as a newer C library
//! might try, fails with EPERM: killing for it would take every user's connection down with a harmless call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::raw;
use crate::runtime::os_error;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What any process needs that computes, waits, and talks over descriptors that it has.
const COMMON: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Of the front besides: threads, sockets that come to it, pipes and their sizes, the event loops of Python and tokio.
const FRONT: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_clone3, // only to be told that there is none: its flags cannot be seen, so threads come by clone
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex_waitv,
    libc::SYS_getcpu,
    libc::SYS_getpeername,
    libc::SYS_getrusage,
    libc::SYS_ioctl, // FIONREAD and FIONBIO, terminals of clients; there is nothing to open that has others
    libc::SYS_listen,
    libc::SYS_membarrier,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_recvmmsg,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_seccomp, // the next of the filters; can only take more away
    libc::SYS_sendmmsg,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_splice,
    libc::SYS_sysinfo,
    libc::SYS_tgkill, // how a thread of ours is woken, and how abort(3) ends us; Landlock keeps it inside
    libc::SYS_uname,
    libc::SYS_connect, // of a socket that is there: the log's, when syslog was started anew
    libc::SYS_mlock,
    libc::SYS_munlock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_accept,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
];

/// Of what writes files besides: Landlock says which.
const WRITER: &[i64] = &[
    libc::SYS_connect, // of a socket that is there: the log's, when syslog was started anew
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readlinkat,
    libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Other processes, other programs, other rights, the kernel's rarer doors: nothing here calls them.
const DEADLY: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setdomainname,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
];

/// What no process of qshd needs, nor a program that an administrator has it run at a login or its end. With root's rights each
/// would be a way to the kernel or into another process.
const RARE: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Thread names (Rust's) and names of anonymous memory (the C library's); and what a filter needs that comes later.
const PRCTL: &[u64] = &[
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_NO_NEW_PRIVS as u64,
    0x5356_4d41, // PR_SET_VMA
];

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> seccompiler::Result<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?)
}

fn rule(conditions: Vec<SeccompCondition>) -> seccompiler::Result<SeccompRule> {
    Ok(SeccompRule::new(conditions)?)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> seccompiler::Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
}

fn named(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Front,
    Signer,
    /// Writes recordings below directories.
    Recorder,
    /// Writes login records to files that are there.
    Records,
    /// Root, with everybody's sockets: starts no program and becomes nobody.
    Monitor,
}

impl Role {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "front" => Self::Front,
            "signer" => Self::Signer,
            "recorder" => Self::Recorder,
            "records" => Self::Records,
            "monitor" => Self::Monitor,
            _ => return None,
        })
    }

    fn writes(self) -> bool {
        matches!(self, Self::Recorder | Self::Records)
    }

    /// What it may do below the paths that it is given.
    fn files(self) -> BitFlags<AccessFs> {
        let write = AccessFs::WriteFile | AccessFs::Truncate;
        match self {
            Self::Recorder => write | AccessFs::MakeReg | AccessFs::MakeDir,
            _ => write | AccessFs::ReadFile,
        }
    }

    /// The monitor ends processes of other users, and its sockets take packets larger than the system's limit for others.
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Monitor => CapabilitySet::KILL | CapabilitySet::NET_ADMIN,
            _ => CapabilitySet::empty(),
        }
    }
}

/// What may be called at all; everything else is told EPERM.
fn allowed(role: Role) -> seccompiler::Result<BpfProgram> {
    let mut rules = named(COMMON);
    if role.writes() {
        rules.extend(named(WRITER));
    }
    // as raise() and abort() do: to itself
    let own = condition(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_kill, vec![rule(vec![own.clone()])?]);
    rules.insert(libc::SYS_tgkill, vec![rule(vec![own])?]);
    // Python's setblocking()
    let nonblocking = condition(1, SeccompCmpOp::Eq, libc::FIONBIO)?;
    rules.insert(libc::SYS_ioctl, vec![rule(vec![nonblocking])?]);
    if role == Role::Front {
        for call in FRONT.iter().filter(|call| **call != libc::SYS_tgkill) {
            rules.insert(*call, Vec::new());
        }
        let prctl = PRCTL
            .iter()
            .map(|option| rule(vec![condition(0, SeccompCmpOp::Eq, *option)?]))
            .collect::<seccompiler::Result<Vec<_>>>()?;
        rules.insert(libc::SYS_prctl, prctl);
        let flag = libc::CLONE_THREAD as u64;
        let thread = condition(0, SeccompCmpOp::MaskedEq(flag), flag)?;
        rules.insert(libc::SYS_clone, vec![rule(vec![thread])?]);
        let local = condition(0, SeccompCmpOp::Eq, libc::AF_UNIX as u64)?;
        rules.insert(libc::SYS_socketpair, vec![rule(vec![local])?]);
        let mut udp = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            udp.push(rule(vec![
                condition(0, SeccompCmpOp::Eq, family as u64)?,
                condition(1, SeccompCmpOp::MaskedEq(0xf), libc::SOCK_DGRAM as u64)?,
            ])?);
        }
        rules.insert(libc::SYS_socket, udp); // asks for a path's MTU (quic/address.rs)
        rules.insert(libc::SYS_bind, Vec::new());
        // descriptors that it has, opened once more without blocking (splice/port.rs)
        let reading = condition(2, SeccompCmpOp::MaskedEq(u64::from(WRITING)), 0)?;
        rules.insert(libc::SYS_openat, vec![rule(vec![reading])?]);
    }
    program(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )
}

/// A pipe cannot be opened again for writing either; the engine goes on with the one that it has, as in a root without /proc.
const WRITING: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u32;

/// What ends the process. Of two filters the harsher one counts.
fn deadly(role: Role) -> seccompiler::Result<BpfProgram> {
    let mut rules = named(DEADLY);
    if !role.writes() {
        rules.insert(libc::SYS_openat, making_files()?);
    }
    let thread = condition(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?;
    rules.insert(libc::SYS_clone, vec![rule(vec![thread])?]);
    let mut families = vec![condition(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        families.push(condition(0, SeccompCmpOp::Ne, family as u64)?);
    }
    rules.insert(libc::SYS_socket, vec![rule(families)?]);
    let other = condition(0, SeccompCmpOp::Ne, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_kill, vec![rule(vec![other.clone()])?]);
    rules.insert(libc::SYS_tgkill, vec![rule(vec![other])?]);
    program(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn making_files() -> seccompiler::Result<Vec<SeccompRule>> {
    [libc::O_CREAT, libc::O_TRUNC, libc::O_APPEND]
        .into_iter()
        .map(|flag| {
            let flag = flag as u64;
            rule(vec![condition(2, SeccompCmpOp::MaskedEq(flag), flag)?])
        })
        .collect()
}

/// Of the monitor, whose other calls are root's: nothing but EPERM comes of these. Ending it would end qshd.
fn refused_to_the_monitor() -> seccompiler::Result<BpfProgram> {
    let mut rules = named(DEADLY);
    rules.extend(named(RARE));
    rules.remove(&libc::SYS_pidfd_open); // it waits for the front's end
    let thread = condition(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?;
    rules.insert(libc::SYS_clone, vec![rule(vec![thread])?]);
    let other = condition(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    rules.insert(libc::SYS_socket, vec![rule(vec![other])?]);
    program(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
    )
}

fn no_clone3() -> seccompiler::Result<BpfProgram> {
    program(
        named(&[libc::SYS_clone3]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

fn filter(role: Role) -> seccompiler::Result<()> {
    if role == Role::Monitor {
        apply_filter_all_threads(&no_clone3()?)?;
        return apply_filter_all_threads(&refused_to_the_monitor()?);
    }
    apply_filter_all_threads(&deadly(role)?)?;
    apply_filter_all_threads(&no_clone3()?)?;
    apply_filter_all_threads(&allowed(role)?)
}

/// No file but `paths`, no TCP connection, no signal and no abstract socket outside: as far as the kernel can.
fn landlock(role: Role, paths: &[PathBuf]) -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V6;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    for path in paths {
        if let Ok(found) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(found, role.files()))?;
        }
    }
    rules.restrict_self().map(|status| status.ruleset)
}

/// Take every capability out of the bounding and ambient sets; the others go with the user id, or with `confine`.
#[pyfunction]
pub(crate) fn drop_bounding_set() -> PyResult<()> {
    clear_ambient_capability_set().map_err(os_error)?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {} // this kernel has no such one
            Err(error) => return Err(os_error(error)),
        }
    }
    Ok(())
}

/// Be confined from here on; says what is in force, and what this kernel does not have. Writers are given `paths`.
#[pyfunction]
#[pyo3(signature = (role, paths = Vec::new()))]
pub(crate) fn confine(role: &str, paths: Vec<PathBuf>) -> PyResult<(Vec<String>, Vec<String>)> {
    let Some(role) = Role::named(role) else {
        return Err(PyValueError::new_err("role: there is no such one"));
    };
    let (mut held, mut missing) = (Vec::new(), Vec::new());
    let kept = role.capabilities() & capabilities(None).map_err(os_error)?.permitted;
    let few = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, few).map_err(os_error)?;
    if role != Role::Monitor {
        // without root others of its user look in /proc whose it is
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(os_error)?;
    }
    set_no_new_privs(true).map_err(os_error)?;
    held.push("no_new_privs".to_owned());
    let files = (role != Role::Monitor).then(|| landlock(role, &paths));
    match files {
        None => {} // its files are the system's: login records, sockets, what it says of processes
        Some(Ok(RulesetStatus::FullyEnforced)) => held.push("Landlock".to_owned()),
        Some(Ok(RulesetStatus::PartiallyEnforced)) => {
            held.push("Landlock (what this kernel has of it)".to_owned());
        }
        Some(Ok(RulesetStatus::NotEnforced)) => missing.push("Landlock".to_owned()),
        Some(Err(error)) => missing.push(format!("Landlock ({error})")),
    }
    match filter(role) {
        Ok(()) => held.push("seccomp".to_owned()),
        Err(error) => missing.push(format!("seccomp ({error})")),
    }
    Ok((held, missing))
}

/// Be refused what nobody needs here, and so be programs that this process starts. New rights may be had, unlike after `confine`:
/// that takes root. Raises OSError.
#[pyfunction]
pub(crate) fn refuse_rare_calls() -> PyResult<()> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let program = program(named(RARE), SeccompAction::Allow, refused)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    raw::filter_calls(&program).map_err(os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_allowed_and_deadly() {
        for call in COMMON.iter().chain(FRONT).chain(WRITER) {
            assert!(!DEADLY.contains(call), "{call}");
        }
    }

    #[test]
    fn filters_compile() {
        for role in [Role::Front, Role::Signer, Role::Recorder, Role::Records] {
            assert!(!allowed(role).unwrap().is_empty());
            assert!(!deadly(role).unwrap().is_empty());
        }
        assert!(!refused_to_the_monitor().unwrap().is_empty());
        assert!(!no_clone3().unwrap().is_empty());
    }
}
