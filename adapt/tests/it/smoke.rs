//! The ten-line path, end to end.
use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_core::{
    local::{self, LocalSpawner},
    *,
};
use std::{thread, time::Duration};

#[derive(Clone)]
struct ThreadEach;
impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

struct Lib<R = AnyRuntime> {
    rt: R,
}
impl<R: Runtime> Lib<R> {
    fn load(&self, name: &str) -> impl Call<Output = String> {
        let name = name.to_owned();
        self.rt.call_blocking(move || name)
    }
    fn fetch(&self, name: &str) -> impl Call<Output = usize> {
        let name = name.to_owned();
        self.rt.call(async move {
            yield_now().await;
            name.len()
        })
    }
}

#[test]
fn works() {
    let rt = Adapter::new(ThreadEach);
    let lib = Lib {
        rt: AnyRuntime::new(rt.clone()),
    };
    assert_eq!(lib.load("x").wait(), "x");
    assert_eq!(lib.fetch("xy").wait(), 2);
    let t = {
        let n = String::from("abc");
        lib.load(&n).spawn()
    };
    let t2 = {
        let n = String::from("abc");
        lib.load(&n)
            .then(|_| AnyRuntime::new(Adapter::new(ThreadEach)).call(async { 7 }))
            .map(|x| x + 1)
            .spawn()
    };
    assert_eq!(rt.block_on(t).unwrap(), "abc");
    assert_eq!(rt.block_on(t2).unwrap(), 8);
    rt.block_on(async {
        assert_eq!(lib.load("x").await, "x");
        assert_eq!(lib.fetch("x").await, 1);
        assert!(lib.fetch("x").try_wait().unwrap_err().is_nested());
        let e = rt.spawn(async { panic!("boom") as () }).await.unwrap_err();
        assert_eq!(e.panic_message(), Some("boom"));
        rt.sleep(Duration::from_millis(5)).await;
        assert!(
            rt.timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .is_err()
        );
        let t = rt.spawn(std::future::pending::<()>());
        assert!(t.cancel().await.unwrap_err().is_cancelled());
    });
    // nested offload on a pool of one
    let rt = Adapter::builder(ThreadEach)
        .offload_limit(1)
        .build()
        .unwrap();
    fn deep<R: Runtime>(rt: R, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let inner = rt.clone();
        1 + rt.block_on(rt.offload(move || deep(inner, n - 1))).unwrap()
    }
    assert_eq!(deep(rt.clone(), 16), 16);
    let v = local::block_on(&rt, async |l| {
        let rc = std::rc::Rc::new(5);
        l.spawn_local(async move { *rc }).await.unwrap()
    })
    .unwrap();
    assert_eq!(v, 5);
}

#[test]
fn a_name_with_a_nul_byte_is_an_error() {
    let built = Adapter::builder(ThreadEach).thread_name("a\0b").build();
    let kind = built.map(drop).unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::InvalidInput);
}
