//! EN-3: poison ends.

use fourway_jobs_engine::{AttemptEnd, JobState, NewJob, Settled, Verdict};

use crate::{
    case::{Case, table},
    child::{Act, Children},
    scene::{BRIEF, KIND, Scene, ends},
};

pub(super) fn cases() -> Vec<Case> {
    table![
        "EN-3.1", "a job whose lease runs out each time ends as dead",
            "an attempt counts when it begins", ends_as_dead;
        "EN-3.2", "poison holds up no other",
            "what comes after it has its turn", holds_up_nobody;
        "EN-3.3", "a dead letter is dead at once",
            "no other attempt would help", dead_letter;
        "EN-3.4", "a job that kills its worker each time ends as dead",
            "a poison job takes a process with it, each time", kills_its_worker,
            needs [Processes], unix true;
        "EN-3.5", "a lost attempt is made up for as often as was asked for",
            "a worker's death is not always the job's fault", makes_up_for_one;
    ]
}

fn ends_as_dead(scene: &Scene<'_>) {
    let mut job = NewJob::new(KIND, 1, *b"");
    job.max_attempts = 3;
    let id = scene.submit(job);
    for n in 1..=3 {
        assert_eq!(scene.fetch(BRIEF).attempt, n);
    }
    scene.eventually("it has ended", || scene.state(id).is_finished());
    let job = scene.status(id);
    assert_eq!(
        (job.state, job.dead, job.attempt),
        (JobState::Failed, true, 3)
    );
    assert_eq!(ends(&job), [Some(AttemptEnd::Lost); 3]);
    assert!(job.error.is_some(), "it says why");
    assert!(scene.fetch_now(1).is_empty());
}

fn makes_up_for_one(scene: &Scene<'_>) {
    let mut job = NewJob::new(KIND, 1, *b"");
    job.max_attempts = 1;
    job.lost_attempts = 1;
    let id = scene.submit(job);
    for n in 1..=2 {
        assert_eq!(scene.fetch(BRIEF).attempt, n);
    }
    scene.eventually("it has ended", || scene.state(id).is_finished());
    let job = scene.status(id);
    assert_eq!(
        (job.state, job.dead, job.attempt),
        (JobState::Failed, true, 2)
    );
    assert_eq!(ends(&job), [Some(AttemptEnd::Lost); 2]);
    assert!(scene.fetch_now(1).is_empty());
}

fn holds_up_nobody(scene: &Scene<'_>) {
    let poison = scene.job();
    let good = scene.job();
    let mut poisoned = 0;
    loop {
        let job = scene.fetch(BRIEF);
        if job.lease.id == good {
            break;
        }
        poisoned += 1;
        assert!(poisoned <= 5, "the other one never has its turn");
    }
    // Its lease was brief as well; its present holder completes it.
    let done = loop {
        let job = scene.fetch(scene.ages);
        if job.lease.id == good {
            break job;
        }
    };
    scene.complete(done.lease, "out");
    assert_eq!(scene.state(good), JobState::Completed);
    assert_ne!(scene.state(poison), JobState::Completed);
}

fn dead_letter(scene: &Scene<'_>) {
    let id = scene.job();
    let job = scene.fetch(scene.ages);
    let error = "never".to_owned();
    let settled = scene.settle(job.lease, Verdict::DeadLetter { error });
    assert_eq!(settled, Settled::Recorded);
    let job = scene.status(id);
    assert_eq!((job.state, job.dead), (JobState::Failed, true));
    assert_eq!(job.error.as_deref(), Some("never"));
    assert!(scene.fetch_now(1).is_empty());
}

fn kills_its_worker(scene: &Scene<'_>) {
    let children = Children::new(scene);
    let poison = children.submit(scene, Act::Die);
    for n in 1..=children.attempts() {
        let mut worker = children.worker();
        worker.until_dead();
        assert!(children.begun(poison) >= n as usize);
    }
    let good = children.submit(scene, Act::Note);
    let _worker = children.worker();
    assert_eq!(scene.ended(good).state, JobState::Completed);
    let job = scene.ended(poison);
    assert_eq!((job.state, job.dead), (JobState::Failed, true));
    assert_eq!(children.begun(poison), children.attempts() as usize);
}
