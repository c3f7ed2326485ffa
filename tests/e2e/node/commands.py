"""The command lines of the node's processes, in the order in which they are started first."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.node.layout import API_PORT, NODE, POD_CIDR, SERVICE_CIDR, Layout


def commands(layout: Layout, programs: dict[str, Path]) -> list[list[str]]:
    """One list of words per process; each ends and is started again until what it needs is there."""
    return [
        _etcd(layout, programs),
        _apiserver(layout, programs),
        ["containerd", f"--config={layout.root}/containerd.toml"],
        _controllers(layout, programs),
        _scheduler(layout, programs),
        [str(programs["kube-proxy"]), f"--config={layout.root}/proxy.json"],
        _kubelet(layout, programs),
    ]


def _etcd(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["etcd"]),
        f"--data-dir={layout.root}/etcd",
        f"--listen-client-urls=unix://{layout.root}/etcd.sock",
        "--advertise-client-urls=http://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout, programs: dict[str, Path]) -> list[str]:
    certificates = layout.root / "certificates"
    key = certificates / "accounts.key"
    return [
        str(programs["kube-apiserver"]),
        f"--etcd-servers=unix://{layout.root}/etcd.sock",
        f"--cert-dir={certificates}",
        f"--bind-address={layout.node_address}",
        f"--advertise-address={layout.node_address}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--token-auth-file={layout.root}/tokens.csv",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        f"--kubelet-client-certificate={certificates}/kubelet-client.crt",
        f"--kubelet-client-key={certificates}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--audit-policy-file={layout.root}/audit-policy.json",
        f"--audit-log-path={layout.audit_log}",
        "--shutdown-send-retry-after",
        "--allow-privileged",
    ]


def _controllers(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["kube-controller-manager"]),
        f"--kubeconfig={layout.root}/controllers.kubeconfig",
        f"--root-ca-file={layout.authority}",
        f"--service-account-private-key-file={layout.root}/certificates/accounts.key",
        f"--cluster-cidr={POD_CIDR}",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _scheduler(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["kube-scheduler"]),
        f"--kubeconfig={layout.root}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _kubelet(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["kubelet"]),
        f"--config={layout.root}/kubelet.json",
        f"--kubeconfig={layout.root}/kubelet.kubeconfig",
        f"--root-dir={layout.root}/kubelet",
        f"--cert-dir={layout.root}/kubelet-certificates",
        f"--hostname-override={NODE}",
        f"--node-ip={layout.node_address}",
    ]
