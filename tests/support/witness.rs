//! Objects on the Swarm that are somebody else's, and look as if they were not.

use super::docker;
use super::house::House;

const INSTANCE: &str = "cc-ci.instance";

/// Things that look like ours, each by something, and are not. Gone with this.
pub(crate) struct Witnesses(Vec<(&'static str, String)>);

impl Witnesses {
    pub(crate) fn stand(house: &House) -> Witnesses {
        let foreign = format!("witness-{}{}", std::process::id(), house.stack("").replace("_ci_test", ""));
        let another = format!("{INSTANCE}=another");
        let mut stand = Witnesses(Vec::new());
        for kind in ["volume", "secret", "config", "network"] {
            // One by its own name, and one of another appliance under the same domain.
            stand.makes(kind, format!("{foreign}_{kind}"), &[]);
            stand.makes(kind, house.stack("cust-aaaaaa") + "_" + kind, &[&another]);
        }
        // Somebody's own app that is called as ours are.
        let own = house.stack("mine-bbbbbb") + "_app";
        let label = format!("com.docker.stack.namespace={}", house.stack("mine-bbbbbb"));
        let service =
            ["service", "create", "-d", "--replicas", "0", "--name", &own, "--label", &label, "cc-ci-test/app:1"];
        let made = docker::docker(&service);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        stand.0.push(("service", own));
        stand
    }

    fn makes(&mut self, kind: &'static str, name: String, marks: &[&str]) {
        docker::make(kind, &name, marks);
        self.0.push((kind, name));
    }

    pub(crate) fn still_stand(&self) {
        for (kind, name) in &self.0 {
            let found = docker::docker(&[kind, "inspect", name]);
            assert!(found.status.success(), "{kind} {name} is gone");
        }
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        for (kind, name) in &self.0 {
            docker::docker(&[kind, "rm", name]);
        }
    }
}
