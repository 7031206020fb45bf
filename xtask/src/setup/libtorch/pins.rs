//! The wheels that LibTorch is made of, per platform, each with the SHA-256 of its file.
//! A new version of `tch` names the `torch` it expects; then all of these change together.

use anyhow::{Result, bail};

use super::super::wheel::{Pin, Target};

/// The version of `torch` that `tch` binds.
pub(super) const VERSION: &str = "2.11.0";

/// What one platform takes.
pub(super) struct Platform {
    pub(super) target: Target,
    /// Enough for a CPU (and, on a Mac, for MPS).
    pub(super) cpu: &'static [Pin],
    /// What CUDA needs besides, from the metadata of the `torch` wheel; triton, a compiler for Python, left out.
    pub(super) cuda: &'static [Pin],
    /// Files without which the folder is not whole.
    pub(super) must_have: &'static [&'static str],
}

/// The platform that this command runs on.
pub(super) fn platform() -> Result<&'static Platform> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(&LINUX_X86_64),
        ("macos", "aarch64") => Ok(&MACOS_ARM64),
        (os, arch) => bail!(
            "no LibTorch is pinned for {os} on {arch}, only for Linux on x86_64 and macOS on aarch64: \
             set `LIBTORCH` to a LibTorch {VERSION} of your own"
        ),
    }
}

static LINUX_X86_64: Platform = Platform {
    target: Target {
        platforms: &[
            "manylinux_2_28_x86_64",
            "manylinux_2_27_x86_64",
            "manylinux_2_25_x86_64",
            "manylinux_2_18_x86_64",
            "manylinux_2_17_x86_64",
            "manylinux2014_x86_64",
            "manylinux2010_x86_64",
            "manylinux1_x86_64",
        ],
        python: "3.12",
    },
    cpu: &[
        Pin {
            requirement: "torch==2.11.0",
            sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
        },
        Pin {
            requirement: "nvidia-cuda-runtime==13.0.96",
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        },
        Pin {
            requirement: "nvidia-cuda-cupti==13.0.85",
            sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        },
    ],
    cuda: LINUX_CUDA,
    must_have: &[
        "torch/include/torch/csrc/api/include/torch/torch.h",
        "torch/lib/libtorch_cpu.so",
        "torch/lib/libc10.so",
        "nvidia/cu13/lib/libcudart.so.13",
        "nvidia/cu13/lib/libcupti.so.13",
    ],
};

static MACOS_ARM64: Platform = Platform {
    target: Target { platforms: &["macosx_11_0_arm64"], python: "3.12" },
    cpu: &[Pin {
        requirement: "torch==2.11.0",
        sha256: "4b5866312ee6e52ea625cd211dcb97d6a2cdc1131a5f15cc0d87eec948f6dd34",
    }],
    cuda: &[],
    must_have: &[
        "torch/include/torch/csrc/api/include/torch/torch.h",
        "torch/lib/libtorch_cpu.dylib",
        "torch/lib/libc10.dylib",
    ],
};

const LINUX_CUDA: &[Pin] = &[
    Pin {
        requirement: "nvidia-cublas==13.1.0.3",
        sha256: "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
    },
    Pin {
        requirement: "nvidia-cuda-nvrtc==13.0.88",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    },
    Pin {
        requirement: "nvidia-cudnn-cu13==9.19.0.56",
        sha256: "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
    },
    Pin {
        requirement: "nvidia-cufft==12.0.0.61",
        sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
    },
    Pin {
        requirement: "nvidia-cufile==1.15.1.6",
        sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
    },
    Pin {
        requirement: "nvidia-curand==10.4.0.35",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    },
    Pin {
        requirement: "nvidia-cusolver==12.0.4.66",
        sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
    },
    Pin {
        requirement: "nvidia-cusparse==12.6.3.3",
        sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
    },
    Pin {
        requirement: "nvidia-cusparselt-cu13==0.8.0",
        sha256: "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
    },
    Pin {
        requirement: "nvidia-nccl-cu13==2.28.9",
        sha256: "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
    },
    Pin {
        requirement: "nvidia-nvjitlink==13.0.88",
        sha256: "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
    },
    Pin {
        requirement: "nvidia-nvshmem-cu13==3.4.5",
        sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
    },
    Pin {
        requirement: "nvidia-nvtx==13.0.85",
        sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
    },
];
